"""Denoisers made of denoisers: D(x, σ) of one video, or of several at once, (…, T, C, h, w), frames fourth
from the end.

None of them knows a picture: the denoisers they are made of do.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .solvers import Denoiser

FRAMES = -4
"""The dimension of the frames."""


def of_frames(weights: Tensor, x: Tensor) -> Tensor:
    """Weights of frames, (T,), to multiply x with: (T, 1, 1, 1)."""
    return weights.to(x, non_blocking=True).view(-1, 1, 1, 1)


def flipped(denoise: Denoiser) -> Denoiser:
    """The denoiser that sees time run backwards."""

    def denoise_flipped(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x.flip(FRAMES), sigma).flip(FRAMES)

    return denoise_flipped


def fused(first: Denoiser, second: Denoiser, weights: Tensor) -> Denoiser:
    """The mean of two denoisers, with the first one's weight for each frame, (T,)."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.lerp(second(x, sigma), first(x, sigma), of_frames(weights, x))

    return denoise


def windowed(denoise: Denoiser, windows: Sequence[Sequence[int]], weights: Tensor) -> Denoiser:
    """The weighted mean of a denoiser's estimates of windows of a long video.

    windows: the frames of each, as many as there are weights, in the order in which it is seen; together they
    hold every frame. There may be several estimates, in dimensions of their own in front of the frames.
    Raises ValueError for windows that leave out a frame.
    """
    total = torch.zeros(max(map(max, windows)) + 1, dtype=weights.dtype, device="cpu")
    for window in windows:
        total[list(window)] += weights.cpu()
    if not (total > 0).all():
        raise ValueError("the windows leave out a frame; each must be in one of them.")
    indices = [torch.tensor(window, dtype=torch.int64, device="cpu") for window in windows]
    shares = [weights.cpu() / total[index] for index in indices]

    def denoise_windows(x: Tensor, sigma: Tensor) -> Tensor:
        result = None
        for index, share in zip(indices, shares, strict=True):
            index = index.to(x.device, non_blocking=True)
            estimate = denoise(x.index_select(FRAMES, index), sigma)
            if result is None:
                result = estimate.new_zeros(*estimate.shape[:FRAMES], *x.shape[FRAMES:])
            result.index_add_(result.dim() + FRAMES, index, of_frames(share, x) * estimate)
        return result

    return denoise_windows


def shifted(denoise: Denoiser, sigmas: Tensor, skip: int, length: int) -> Denoiser:
    """The denoiser of a ring of frames, cut into tiles of a length, at another place in each step.

    At step i the first tile begins at frame skip·i (Bi et al., "Mobius", 2025). sigmas: the run's, which tell
    the step. Raises ValueError for a ring that the length doesn't divide.
    """

    def denoise_ring(x: Tensor, sigma: Tensor) -> Tensor:
        count = x.shape[FRAMES]
        if count % length:
            raise ValueError(
                f"a ring of {count} frames has no whole tiles of {length}; take a multiple of it."
            )
        shift = skip * step_of(sigma, sigmas) % count
        tiles = x.roll(-shift, FRAMES).split(length, FRAMES)
        return torch.cat([denoise(tile, sigma) for tile in tiles], FRAMES).roll(shift, FRAMES)

    return denoise_ring


def held(denoise: Denoiser, latents: Tensor, noise: Tensor, sigmas: Tensor, until: float) -> Denoiser:
    """The denoiser that leads the first frames along latents + σ·noise, both (…, K, C, h, w).

    Its estimate of them is the latents, which keeps any solver on that line; in the first step it is the one
    from which Euler's ends there, since a run starts without the latents. Noise that a solver adds replaces
    the line's. The frames are free in steps that end below `until`. sigmas: the run's, which tell the step.
    """

    def denoise_held(x: Tensor, sigma: Tensor) -> Tensor:
        estimate, step = denoise(x, sigma), step_of(sigma, sigmas)
        end = sigmas[min(step + 1, len(sigmas) - 1)]
        if end < until or end >= sigma:
            return estimate
        frames, led = latents.shape[FRAMES], latents
        if step == 0:
            first = x.narrow(FRAMES, 0, frames)
            led = first - sigma / (sigma - end) * (first - latents - end * noise)
        return torch.cat([led, estimate.narrow(FRAMES, frames, x.shape[FRAMES] - frames)], FRAMES)

    return denoise_held


def constrained(denoise: Denoiser, latents: Tensor, mask: Tensor, until: float) -> Denoiser:
    """The denoiser whose estimate is latents where a mask is 1, at levels above `until`.

    mask: (…, T or 1, 1, h, w) from 0 to 1. x that begins at latents + σ·noise there stays on that line with
    any solver that adds no noise ("Time-to-Move", 2511.08633).
    """

    def denoise_constrained(x: Tensor, sigma: Tensor) -> Tensor:
        estimate = denoise(x, sigma)
        return torch.lerp(estimate, latents.to(x), mask.to(x)) if sigma > until else estimate

    return denoise_constrained


def step_of(sigma: Tensor, sigmas: Tensor) -> int:
    """The step of a run at a noise level, which may lie above its first one by a solver's churn."""
    return int((sigmas > sigma).sum())
