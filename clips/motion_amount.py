"""How much moves, in a word: the motion bucket, and the noise level that a clip starts from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..svd_model.checkpoint.variants import Variant
from . import presets


@dataclass(frozen=True)
class Amount:
    """What a word stands for; None leaves the highest noise level to the schedule."""

    motion_bucket_id: int
    sigma_max: float | None = None


AMOUNTS = {
    "still": Amount(10),
    "little": Amount(60),
    "usual": Amount(presets.USUAL_MOTION),
    "much": Amount(190),
    # Zhao et al., "Identifying and Solving Conditional Image Leakage", 2024: less noise at the start, and the
    # network leans less on the picture.
    "most": Amount(255, sigma_max=100.0),
}
"""Words for how much moves, from the least on."""


def defaults(name: str, variant: Variant, takes_levels: bool) -> dict[str, Any]:
    """Numbers of a clip that moves by a word of AMOUNTS.

    takes_levels: whether its schedule may have another highest noise level. A model whose clips are small
    moves no more for less noise at its start, and keeps its own.
    """
    amount = AMOUNTS[name]
    numbers = {"motion_bucket_id": amount.motion_bucket_id}
    if amount.sigma_max is not None and takes_levels and not presets.is_small(variant):
        numbers["sigma_max"] = amount.sigma_max
    return numbers


def conflicts(settings) -> Iterator[str]:
    """A sentence where a word and one of its own numbers are both chosen."""
    useless = [n for n in ("motion_bucket_id", "sigma_max") if getattr(settings, n) is not None]
    if settings.motion_amount is not None and useless:
        yield (
            f"motion_amount is {settings.motion_amount}, which stands for {' and '.join(useless)}; leave the "
            "one or the other out."
        )
