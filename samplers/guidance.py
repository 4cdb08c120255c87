"""Classifier-free guidance (Ho & Salimans, 2022) with a scale for each frame, and where in σ it applies."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_FACTORY = {"dtype": torch.float32, "device": "cpu"}  # whatever the caller's defaults

TRAPEZOID_EDGE = 0.1
"""The part of the frames over which a trapezoid rises, and over which it falls."""


def constant(num_frames: int, scale: float) -> Tensor:
    """The same scale for every frame."""
    return torch.full((num_frames,), float(scale), **_FACTORY)


def linear(num_frames: int, min_scale: float, max_scale: float) -> Tensor:
    """From min at the first frame to max at the last; a single frame has min."""
    return torch.linspace(min_scale, max_scale, num_frames, **_FACTORY)


def triangle(num_frames: int, min_scale: float, max_scale: float) -> Tensor:
    """From min up to max in the middle of the clip, and back: for orbits, which end where they began."""
    position = torch.linspace(0, 1, num_frames, **_FACTORY)
    wave = 2 * (position - (position + 0.5).floor()).abs()
    return min_scale + (max_scale - min_scale) * wave


def trapezoid(num_frames: int, min_scale: float, max_scale: float) -> Tensor:
    """From min up to max over the first tenth of the frames, down again over the last tenth.

    The reference's plateau is 1 whatever max_scale says; here it is max_scale.
    """
    edge = int(num_frames * TRAPEZOID_EDGE)
    rise = torch.linspace(min_scale, max_scale, edge, **_FACTORY)
    return torch.cat([rise, constant(num_frames - 2 * edge, max_scale), rise.flip(0)])


def given(num_frames: int, scales: Sequence[float]) -> Tensor:
    """A list with one scale for each frame."""
    if len(scales) != num_frames or not all(math.isfinite(scale) for scale in scales):
        raise ValueError(
            f"the guidance list is {', '.join(f'{scale:g}' for scale in scales)} ({len(scales)} numbers); "
            f"give one finite number for each of the {num_frames} frames."
        )
    return torch.tensor([float(scale) for scale in scales], **_FACTORY)


SHAPES = {
    "constant": lambda num_frames, _, max_scale: constant(num_frames, max_scale),
    "linear": linear,
    "triangle": triangle,
    "trapezoid": trapezoid,
}
"""(number of frames, min, max) -> (T,) scales; a constant one is max."""


def guide(conditional: Tensor, unconditional: Tensor, scales: Tensor) -> Tensor:
    """unconditional + scale·(conditional − unconditional), frame by frame: (B·T, C, h, w), (T,) scales."""
    videos, rest = divmod(conditional.shape[0], scales.shape[0])
    if rest or not videos:
        raise ValueError(
            f"{scales.shape[0]} scales don't fit {conditional.shape[0]} frames; give one a frame."
        )
    scales = scales.to(conditional, non_blocking=True).repeat(videos)
    return unconditional + scales.view(-1, 1, 1, 1) * (conditional - unconditional)


EVERYWHERE = (0.0, math.inf)
"""The interval of σ that has all of them in it."""


def matters(scales: Tensor, sigma: Tensor, interval: tuple[float, float]) -> bool:
    """Whether guidance changes anything at this σ: inside of the interval, with a scale that is not 1."""
    return _inside(sigma, interval) and _changes(scales)


def _inside(sigma: Tensor, interval: tuple[float, float]) -> bool:
    if tuple(interval) == EVERYWHERE:
        return True  # without a look at σ, for which a GPU would be waited for
    low, high = torch.tensor(interval, **_FACTORY).tolist()  # as the sigmas are, so that ends match
    return low <= float(sigma) <= high


def _changes(scales: Tensor) -> bool:
    return not bool((scales == 1).all())


def guided(
    conditional: Callable[[Tensor, Tensor], Tensor],
    unconditional: Callable[[Tensor, Tensor], Tensor],
    scales: Tensor,
    interval: tuple[float, float] = EVERYWHERE,
    both: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> Callable[[Tensor, Tensor], Tensor]:
    """A denoiser guided by the difference of two, which `both`, if given, computes in one go.

    The unconditional one is not called where it could not matter: for a σ outside of the interval, both ends
    included (Kynkäänniemi et al., 2024), and where every scale is 1.
    """

    changes = _changes(scales)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if not (changes and _inside(sigma, interval)):
            return conditional(x, sigma)
        estimates = both(x, sigma) if both else (conditional(x, sigma), unconditional(x, sigma))
        return guide(*estimates, scales)

    return denoise
