"""Solvers between two pictures, each with a network's estimates under its own picture.

x is forward in time, (…, T, C, h, w). The end's network sees it backwards, its own picture first. All are of
first order: a pass goes down to the next level, noise back up, and the pass of the other picture down again.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from .denoisers import FRAMES, of_frames
from .guidance import CONDITIONAL, UNCONDITIONAL, Evaluate
from .solvers import Callback, Noise, silent

BOTH = (CONDITIONAL, UNCONDITIONAL)
NO_KEYFRAMES: Mapping[int, Tensor] = MappingProxyType({})


@dataclass(frozen=True)
class End:
    """A picture at an end of the clip."""

    evaluate: Evaluate  # of frames that begin with the picture
    latent: Tensor  # (…, 1, C, h, w), the picture without noise, in the diffusion model's scale
    scales: Tensor  # (T,), guidance of each frame, counted from the picture


def vibid(
    start: End,
    end: End,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    callback: Callback = silent,
    keyframes: Mapping[int, Tensor] = NO_KEYFRAMES,
) -> Tensor:
    """ViBiDSampler (Yang et al., 2024): in each step a pass from either end, with the other picture put in.

    Frame 0 ends on the start's latent, the last frame near the end's. keyframes: latents of frames in
    between, put in by both passes. Guidance is CFG++'s (Chung et al., 2024): its slope is unconditional.
    """
    return _solved(_vibid_step(start, end, noise, keyframes), x, sigmas, callback)


def mpd(
    start: End,
    end: End,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    callback: Callback = silent,
    share: float = 0.2,
    rounds: int = 3,
) -> Tensor:
    """Motion prior distillation (2602.12679) before the first steps of ViBiDSampler.

    share: of the steps, that begin with so many rounds of it.
    """
    vibid_step, first = _vibid_step(start, end, noise), first_steps(share, len(sigmas) - 1)

    def step(i: int, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
        if i < first:
            x = _distilled(start, end, x, sigma, sigma_next, noise, rounds)
        return vibid_step(i, x, sigma, sigma_next)

    return _solved(step, x, sigmas, callback)


def mpd_trf(
    start: End,
    end: End,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    callback: Callback = silent,
    share: float = 0.1,
    passes: int = 4,
) -> Tensor:
    """Motion prior distillation before the first steps, then both networks' estimates fused in time.

    passes: of a fused step, all but the last with noise back up after them.
    """
    vibid_step, first = _vibid_step(start, end, noise), first_steps(share, len(sigmas) - 1)
    weights = of_frames(fading(x.shape[FRAMES]), x)

    def step(i: int, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
        if i < first:
            x = _distilled(start, end, x, sigma, sigma_next, noise, rounds=1)
            return vibid_step(i, x, sigma, sigma_next)
        for count in range(passes):
            if count > 0:
                x = noised(x, sigma, sigma_next, noise)
            forward, unconditional = start.evaluate(BOTH, x, sigma)
            (backward,) = end.evaluate((CONDITIONAL,), x.flip(FRAMES), sigma)
            denoised = torch.lerp(backward.flip(FRAMES), forward, weights)
            x = denoised + sigma_next * (x - unconditional) / sigma
        return x, denoised

    return _solved(step, x, sigmas, callback)


BIDIRECTIONAL = {"mpd": mpd, "vibid": vibid, "mpd_trf": mpd_trf}
"""Names -> solvers (start, end, x, sigmas, *, noise, callback)."""


def fading(num_frames: int) -> Tensor:
    """Weights of the start's estimate, (T,): from 1 at its own frame to 0 at the other picture."""
    return torch.linspace(1, 0, num_frames, dtype=torch.float64, device="cpu")


def put(x: Tensor, frames: Mapping[int, Tensor]) -> Tensor:
    """A copy of x with latents, (…, 1, C, h, w), in place of frames."""
    x = x.clone()
    for index, latent in frames.items():
        x.narrow(FRAMES, index, 1).copy_(latent)
    return x


def noised(x: Tensor, sigma: Tensor, sigma_next: Tensor, noise: Noise, strength: float = 1.0) -> Tensor:
    """x at the next level with noise added up to σ, times a strength."""
    return x + strength * (sigma**2 - sigma_next**2).sqrt() * noise(x)


def first_steps(share: float, steps: int) -> int:
    """How many steps begin in a share of them; a step that begins in it counts whole."""
    return math.ceil(share * steps - 1e-9)  # 0.2·35 is a little above 7


Step = Callable[[int, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(its number, x, σ, the next σ) -> x there, and the last pass's estimate, both forward in time."""


def _solved(step: Step, x: Tensor, sigmas: Tensor, callback: Callback) -> Tensor:
    """x after all steps; the callback gets the x at the start of each."""
    for i, levels in enumerate(itertools.pairwise(sigmas)):
        x_start = x
        x, denoised = step(i, x, *levels)
        callback(i, x_start, denoised)
    return x


def _vibid_step(start: End, end: End, noise: Noise, keyframes: Mapping[int, Tensor] = NO_KEYFRAMES) -> Step:
    """A step of ViBiDSampler: a pass under the start, noise back up, and a pass under the end."""

    def step(_: int, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
        last = x.shape[FRAMES] - 1
        x, _ = _half(start, x, {last: end.latent, **keyframes}, sigma, sigma_next)
        x = noised(x, sigma, sigma_next, noise)
        backward = {last: start.latent, **{last - index: latent for index, latent in keyframes.items()}}
        x, denoised = _half(end, x.flip(FRAMES), backward, sigma, sigma_next)
        return x.flip(FRAMES), denoised.flip(FRAMES)

    return step


def _half(
    side: End, x: Tensor, frames: Mapping[int, Tensor], sigma: Tensor, sigma_next: Tensor
) -> tuple[Tensor, Tensor]:
    """A pass under one picture, with latents in place of frames: x at the next level, and the estimate."""
    conditional, unconditional = side.evaluate(BOTH, x, sigma)
    guided = unconditional + of_frames(side.scales, x) * (conditional - unconditional)
    denoised = put(guided, frames)
    return denoised + sigma_next * (x - unconditional) / sigma, denoised


def _distilled(
    start: End, end: End, x: Tensor, sigma: Tensor, sigma_next: Tensor, noise: Noise, rounds: int
) -> Tensor:
    """x at σ after rounds of motion prior distillation.

    The paper carries the start's differences of noise from frame to frame over to a path that begins in the
    end's picture. They add up to the start's estimate with all frames moved by its last one's error.
    """
    for _ in range(rounds):
        conditional, unconditional = start.evaluate(BOTH, x, sigma)
        last = conditional.narrow(FRAMES, conditional.shape[FRAMES] - 1, 1)
        denoised = put(conditional + (end.latent - last), {0: start.latent})
        x = noised(denoised + sigma_next * (x - unconditional) / sigma, sigma, sigma_next, noise)
    return x
