"""Control of a clip: pictures, one for each frame, that a ControlNet sees beside what it samples."""

import math
from dataclasses import dataclass

from torch import Tensor

from ..samplers.schedules import SIGMA_MAX, SIGMA_MIN
from .fields import is_number

DEFAULTS = {
    "control_strength": 1.0,
    "control_start": 0.0,
    "control_end": 1.0,
    "control_weighting": "author",
}
"""Settings of a run with a ControlNet; without one they have no use."""


@dataclass(frozen=True)
class Control:
    """Pictures that steer a run through a ControlNet, how strongly, and at which noise levels."""

    pictures: Tensor  # (T, 3, H, W) in [−1, 1]
    strength: float
    weighting: str
    first_sigma: float
    last_sigma: float

    def acts_at(self, sigma: float) -> bool:
        """Whether the ControlNet is evaluated at a noise level."""
        return self.strength != 0 and self.last_sigma <= sigma <= self.first_sigma


def check_range(start: float | None, end: float | None) -> None:
    """Raises ValueError for a part of a run that ends before it begins."""
    if is_number(start) and is_number(end) and start > end:
        raise ValueError(f"control_start is {start:g} and control_end {end:g}; give the smaller one first.")


def sigma_at(fraction: float) -> float:
    """The noise level at a fraction of a run, as ComfyUI counts it: along log σ, whatever the schedule."""
    if fraction <= 0:
        return math.inf
    if fraction >= 1:
        return 0.0
    return math.exp(math.log(SIGMA_MAX) + fraction * (math.log(SIGMA_MIN) - math.log(SIGMA_MAX)))


def numbers(settings) -> dict:
    """The settings of a run with a ControlNet, with the defaults for every None."""
    chosen = {name: getattr(settings, name) for name in DEFAULTS}
    return {name: DEFAULTS[name] if value is None else value for name, value in chosen.items()}
