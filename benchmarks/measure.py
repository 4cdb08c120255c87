"""Alternating runs, what they say together, and whether outputs agree."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Calls = Mapping[str, Callable[[], Tensor]]


class DisagreementError(AssertionError):
    """Peers that compute different things are not compared."""


def check_agreement(outputs: Mapping[str, Tensor], bound: float, root_mean_square: bool = False) -> dict:
    """Errors of all against the first, relative to its largest magnitude (or its root mean square).

    Raises DisagreementError where one is above the bound, or anything is not finite.
    """
    (first, reference), *others = ((name, output.double()) for name, output in outputs.items())
    errors = {}
    for name, output in ((first, reference), *others):
        if output.shape != reference.shape:
            raise DisagreementError(f"{name} gives {tuple(output.shape)}, {first} {tuple(reference.shape)}.")
        if not torch.isfinite(output).all():
            raise DisagreementError(f"{name} gives NaN or infinity.")
        difference = output - reference
        if root_mean_square:
            error = difference.square().mean().sqrt() / reference.square().mean().sqrt()
        else:
            error = difference.abs().max() / reference.abs().max()
        if not error <= bound:
            raise DisagreementError(f"{name} is {error:.1e} off {first}, more than {bound:g}: not timed.")
        if name != first:
            errors[name] = error.item()
    return errors


def alternate(calls: Calls, pairs: int, clock: Callable[[], float] = time.perf_counter) -> dict:
    """Seconds of each call, one after the other, `pairs` times, in an order that turns each time."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(pairs):
        for name in list(calls) if turn % 2 == 0 else reversed(list(calls)):
            began = clock()
            calls[name]()
            seconds[name].append(clock() - began)
    return seconds


def spread(values: Sequence[float]) -> dict:
    """Median and quartiles."""
    low, middle, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    return {"median": middle, "low": low, "high": high, "all": list(values)}


def ratios(seconds: Mapping[str, Sequence[float]]) -> dict[str, dict[str, dict]]:
    """For each of ours, its time over that of each peer, run by run."""
    others = [name for name in seconds if not is_ours(name)]
    return {
        name: {
            other: spread([our / their for our, their in zip(mine, seconds[other], strict=True)])
            for other in others
        }
        for name, mine in seconds.items()
        if is_ours(name)
    }


def is_ours(name: str) -> bool:
    """Whether a peer of that name is one of ours."""
    return name.startswith("Stillmotion")


def compare(calls: Calls, pairs: int, bound: float, **how) -> dict:
    """Checks that the calls agree, in what is also their first run, then times them."""
    errors = check_agreement({name: call() for name, call in calls.items()}, bound, **how)
    return summary(alternate(calls, pairs), errors)


def summary(seconds: Mapping[str, Sequence[float]], errors: Mapping[str, float]) -> dict:
    """What is kept of a comparison."""
    return {
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "ratios": ratios(seconds),
        "errors": dict(errors),
    }


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def in_words(value: dict, unit: str = "", digits: int = 3) -> str:
    """A median with its quartiles."""
    middle, low, high = (f"{value[name]:.{digits}g}" for name in ("median", "low", "high"))
    return f"{middle}{unit} ({low}–{high})"


COMPARISON_HEAD = ("what", "ours", "time", "peer", "its time", "ours / its", "outputs differ by")
"""Times and ratios are medians, with quartiles."""


def comparison_rows(name: str, result: dict) -> list[tuple]:
    """A comparison as rows of COMPARISON_HEAD."""
    seconds, errors, rows = result["seconds"], result["errors"], []
    for ours, others in result["ratios"].items():
        for peer, ratio in others.items():
            error = max(errors.get(ours, 0.0), errors.get(peer, 0.0))
            times = (in_words(seconds[ours], " s"), peer, in_words(seconds[peer], " s"))
            rows.append((name, ours, *times, in_words(ratio), f"{error:.1e}"))
    return rows
