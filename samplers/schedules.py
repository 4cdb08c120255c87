"""Noise schedules: n + 1 falling levels for n steps, the last of them 0.

Levels are computed in float64 and returned in float32.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 700.0, 7.0
"""Range and bend of Stable Video Diffusion's Karras schedule."""

_FACTORY = {"dtype": torch.float64, "device": "cpu"}  # independent of torch's defaults

RHO_RANGE = (0.5, 100.0)
"""Bounds of ρ; outside of them powers of σ overflow float64."""

ALIGN_YOUR_STEPS_SVD = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)
ANIMATE_LCM_TRAIN_STEPS = 40


def karras(
    steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = RHO
) -> Tensor:
    """Levels at equal steps in σ^(1/ρ) (Karras et al., 2022, eq. 5)."""
    _check_steps(steps)
    _check_range(sigma_min, sigma_max)
    low, high = RHO_RANGE
    if not low <= rho <= high:
        raise ValueError(f"rho is {rho}; it must be from {low:g} to {high:g} (7 is usual).")
    ramp = torch.linspace(0, 1, steps, **_FACTORY)
    return _distinct(_with_zero(_karras_points(ramp, sigma_min, sigma_max, rho)))


def exponential(steps: int, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX) -> Tensor:
    """Levels at equal steps in ln σ."""
    _check_steps(steps)
    _check_range(sigma_min, sigma_max)
    logs = torch.linspace(math.log(sigma_max), math.log(sigma_min), steps, **_FACTORY)
    return _distinct(_with_zero(logs.exp()))


def align_your_steps(steps: int) -> Tensor:
    """Ten levels optimised for SVD (Sabour et al., 2024), interpolated log-linearly for another count."""
    _check_steps(steps)
    optimised = torch.tensor(ALIGN_YOUR_STEPS_SVD, **_FACTORY).log()
    position = torch.linspace(0, len(optimised) - 1, steps + 1, **_FACTORY)
    left = position.long().clamp(max=len(optimised) - 2)
    logs = torch.lerp(optimised[left], optimised[left + 1], position - left)
    return _with_zero(logs.exp()[:-1])


def animate_lcm(steps: int) -> Tensor:
    """Levels that AnimateLCM-SVD was distilled for (Wang et al., 2024): every k-th of 40 Karras levels."""
    _check_steps(steps)
    if steps > ANIMATE_LCM_TRAIN_STEPS:
        raise ValueError(
            f"steps is {steps}; the AnimateLCM schedule has at most {ANIMATE_LCM_TRAIN_STEPS} "
            "(4 to 8 are usual)."
        )
    index = torch.arange(steps, **_FACTORY) * (ANIMATE_LCM_TRAIN_STEPS // steps)
    return _with_zero(_karras_points(index / (ANIMATE_LCM_TRAIN_STEPS - 1), SIGMA_MIN, SIGMA_MAX, RHO))


def listed(sigmas: Sequence[float]) -> Tensor:
    """Levels of a falling list; a missing last 0 is added."""
    if len(sigmas) == 0:
        raise ValueError("the list of sigmas is empty; give at least one level above 0.")
    levels = torch.tensor([float(sigma) for sigma in sigmas], **_FACTORY)
    levels = levels[:-1] if levels[-1] == 0 else levels
    if len(levels) == 0 or not _falls(_with_zero(levels)):
        raise ValueError(
            f"the sigmas are {', '.join(f'{sigma:g}' for sigma in sigmas)}; they must fall from each to "
            "the next and be finite numbers above 0 (the last may be 0)."
        )
    return _with_zero(levels)


@dataclass(frozen=True)
class Schedule:
    """A function that makes n + 1 noise levels for n steps.

    `numbers` names the arguments that it takes, of sigma_min, sigma_max and rho. `steps` is the count that it
    was designed for, if any.
    """

    make: Callable[..., Tensor]
    numbers: tuple[str, ...] = ()
    steps: int | None = None


SCHEDULES = {
    "karras": Schedule(karras, ("sigma_min", "sigma_max", "rho")),
    "exponential": Schedule(exponential, ("sigma_min", "sigma_max")),
    "align_your_steps": Schedule(align_your_steps, steps=10),
    "animate_lcm": Schedule(animate_lcm, steps=4),
}


def _karras_points(ramp: Tensor, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """Levels at positions from 0 (σ_max) to 1 (σ_min)."""
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return (high + ramp * (low - high)) ** rho


def _with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)]).float()


def _falls(sigmas: Tensor) -> bool:
    return bool(sigmas.isfinite().all() and (sigmas.diff() < 0).all())


def _distinct(sigmas: Tensor) -> Tensor:
    """The levels; raises ValueError for two that are equal in float32: solvers divide by their difference."""
    if not _falls(sigmas):
        raise ValueError(
            f"{len(sigmas) - 1} steps don't fit between sigma_max {sigmas[0]:g} and sigma_min "
            f"{sigmas[-2]:g}; take fewer steps or a wider range."
        )
    return sigmas


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least 1 is needed.")


def _check_range(sigma_min: float, sigma_max: float) -> None:
    if not (math.isfinite(sigma_max) and 0 < sigma_min < sigma_max):
        raise ValueError(
            f"sigma_min is {sigma_min} and sigma_max {sigma_max}; they must be finite and "
            "0 < sigma_min < sigma_max."
        )
