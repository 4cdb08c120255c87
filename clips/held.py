"""Clips that follow a motion of the user's, or stay still in part: their defaults, and what they refuse."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ..svd_model.checkpoint.variants import Variant
from . import presets
from .choices_of_motion import MOVABLE, ChoicesOfMotion
from .choices_over_time import CHAIN, FREENOISE, WHOLE, WINDOWS

MOTION_BUCKET = 17
"""The motion bucket of a clip with a motion, if the user names none: what is not held should be calm."""


def mistakes(
    settings: ChoicesOfMotion, variant: Variant, pictures: bool, moves: bool, freezes: bool
) -> Iterator[str]:
    """A sentence for each choice that does not go with a motion, or needs one.

    pictures: whether the clip has some after the first one. moves, freezes: whether parts of the first one
    are moved, and kept still.
    """
    if not moves:
        for name in ("hold_from", "hold_until"):
            if getattr(settings, name) is not None:
                yield f"{name} goes with a motion, and this clip has none; leave it out, or give one."
    if not (moves or freezes):
        return
    what = "a motion" if moves else "a frozen part"
    if variant.conditioning not in MOVABLE:
        yield f"{what} goes with SVD; this checkpoint ({variant.name}) takes none."
    if pictures:
        yield f"{what} can't go with an end frame or keyframes; leave one of both out."
    elif settings.loop is not None:
        yield f"{what} can't go with the loop {settings.loop}; leave one of both out."


def mistakes_of_length(settings: ChoicesOfMotion, moves: bool, freezes: bool) -> Iterator[str]:
    """A sentence for a chain, of settings with a length."""
    if (moves or freezes) and settings.long == CHAIN:
        yield (
            f"a motion or a frozen part can't go with long {CHAIN}, whose {settings.num_frames} frames are "
            f"sampled a chunk at a time; give at most {settings.chunk} frames, or long {WINDOWS}, "
            f"{FREENOISE} or {WHOLE}."
        )


def defaults(variant: Variant) -> dict[str, Any]:
    """Numbers of a clip with a motion, if the user leaves them open."""
    hold_from, hold_until = presets.hold_of(variant)
    return {"hold_from": hold_from, "hold_until": hold_until, "motion_bucket_id": MOTION_BUCKET}


def from_level(sigmas: Tensor, level: float, name: str) -> Tensor:
    """The noise levels from one on, of a falling schedule; raises ValueError, with its name, for none."""
    run = sigmas[sigmas <= level]
    if len(run) < 2:
        raise ValueError(
            f"{name} is {level:g}, and the lowest of the {len(sigmas) - 1} noise levels is "
            f"{float(sigmas[-2]):.3g}; give a higher one."
        )
    return run


def levels(sigmas: Tensor, hold_from: float, hold_until: float) -> Tensor:
    """The noise levels that a clip with a motion runs through, of all of its schedule's.

    Raises ValueError where the motion is followed at none of them, though not by the user's wish: equal
    numbers mean a start from it alone.
    """
    if hold_until > hold_from:
        raise ValueError(
            f"hold_from is {hold_from:g} and hold_until {hold_until:g}; give the higher one first, or "
            "equal ones."
        )
    run = from_level(sigmas, hold_from, "hold_from")
    if hold_until < hold_from and not run[0] > hold_until:
        above = ", ".join(f"{float(sigma):.3g}" for sigma in sigmas[sigmas > hold_from][-2:])
        below = ", ".join(f"{float(sigma):.3g}" for sigma in run[:2])
        raise ValueError(
            f"hold_from is {hold_from:g} and hold_until {hold_until:g}, and no noise level lies between "
            f"(…, {above}{', ' if above else ''}{below}, …); give more steps, or numbers further apart."
        )
    return run
