"""Alternating runs of peers, their statistics, and the agreement of their outputs."""

import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Runs = Mapping[str, Callable[[], float]]
"""Run of each peer, which returns its seconds."""


class DisagreementError(AssertionError):
    """Outputs that differ too much for a comparison of times."""


def disagreements(
    outputs: Mapping[str, Tensor], bound: float, root_mean_square: bool = False
) -> tuple[dict[str, float], dict[str, str]]:
    """Errors of outputs against the first, relative to its largest magnitude (or its root mean square).

    Also the reasons why outputs can't be compared: another shape, an error above the bound, NaN or infinity.
    """
    first, reference = next(iter(outputs.items()))
    errors, refused = {}, {}
    for name, output in outputs.items():
        if output.shape != reference.shape:
            refused[name] = f"{name} gives {tuple(output.shape)}, {first} {tuple(reference.shape)}"
        elif not torch.isfinite(output).all():
            refused[name] = f"{name} gives NaN or infinity"
        else:
            error = _error(output.double(), reference.double(), root_mean_square)
            if error <= bound:
                errors[name] = error
            else:
                refused[name] = f"{name} is {error:.1e} off {first}, more than {bound:g}"
    errors.pop(first, None)
    return errors, refused


def _error(output: Tensor, reference: Tensor, root_mean_square: bool) -> float:
    difference = output - reference
    if root_mean_square:
        return (difference.square().mean().sqrt() / reference.square().mean().sqrt()).item()
    return (difference.abs().max() / reference.abs().max()).item()


def check_agreement(outputs: Mapping[str, Tensor], bound: float, **how) -> dict[str, float]:
    """Returns the errors; raises DisagreementError if any output can't be compared."""
    errors, refused = disagreements(outputs, bound, **how)
    if refused:
        raise DisagreementError(f"{'; '.join(refused.values())}: not timed.")
    return errors


def alternate(runs: Runs, pairs: int) -> dict[str, list[float]]:
    """Seconds of `pairs` runs of each peer, in an order that is reversed each time."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(pairs):
        for name in list(runs) if turn % 2 == 0 else reversed(list(runs)):
            seconds[name].append(runs[name]())
    return seconds


def spread(values: Sequence[float]) -> dict:
    """Median and quartiles."""
    low, middle, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    return {"median": middle, "low": low, "high": high, "all": list(values)}


def ratios(seconds: Mapping[str, Sequence[float]]) -> dict[str, dict[str, dict]]:
    """Ratios of each of our times to each peer's time, run by run."""
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
    """Whether a name belongs to Stillmotion."""
    return name.startswith("Stillmotion")


def compare(outputs: Mapping[str, Tensor], runs: Runs, pairs: int, bound: float, **how) -> dict:
    """Times the peers whose outputs agree with the first, which is ours.

    `refused` of the result has the reasons for the others. Raises DisagreementError if no peer is left.
    """
    errors, refused = disagreements(outputs, bound, **how)
    agreeing = {name: runs[name] for name in outputs if name not in refused}
    if next(iter(outputs)) in refused or all(is_ours(name) for name in agreeing):
        raise DisagreementError(f"{'; '.join(refused.values())}: not timed.")
    return {**summary(alternate(agreeing, pairs), errors), "refused": list(refused.values())}


def summary(seconds: Mapping[str, Sequence[float]], errors: Mapping[str, float]) -> dict:
    """Statistics of a comparison, for the JSON."""
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
    """Writes a median with its quartiles."""
    middle, low, high = (f"{value[name]:.{digits}g}" for name in ("median", "low", "high"))
    return f"{middle}{unit} ({low}–{high})"


COMPARISON_HEAD = ("what", "ours", "time", "peer", "its time", "ours / its", "outputs differ by")
"""Columns of a comparison; times and ratios are medians with quartiles."""


def comparison_rows(name: str, result: dict) -> list[tuple]:
    """Table rows of a comparison, under COMPARISON_HEAD."""
    seconds, errors, rows = result["seconds"], result["errors"], []
    for ours, others in result["ratios"].items():
        for peer, ratio in others.items():
            error = max(errors.get(ours, 0.0), errors.get(peer, 0.0))
            times = (in_words(seconds[ours], " s"), peer, in_words(seconds[peer], " s"))
            rows.append((name, ours, *times, in_words(ratio), f"{error:.1e}"))
    return rows
