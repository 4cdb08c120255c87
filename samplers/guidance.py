"""Guidance: the conditional estimate, moved by terms that compare it with other branches.

D = D_c + Σ w(frame, σ)·(D_c − D_k) over the terms, each with a branch k and weights of its own; a term may
change the estimate in another way. Scales over frames are in SHAPES, terms for them in TERMS.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .preconditioning import scalings
from .solvers import Denoiser

_FACTORY = {"dtype": torch.float32, "device": "cpu"}  # independent of torch's defaults

TRAPEZOID_EDGE = 0.1
"""Share of the frames in each of the two edges of a trapezoid."""


def constant(num_frames: int, scale: float) -> Tensor:
    """One scale for all frames, (T,)."""
    return torch.full((num_frames,), float(scale), **_FACTORY)


def linear(num_frames: int, min_scale: float, max_scale: float) -> Tensor:
    """Scales in equal steps from min at the first frame to max at the last; a single frame has min."""
    return torch.linspace(min_scale, max_scale, num_frames, **_FACTORY)


def triangle(num_frames: int, min_scale: float, max_scale: float) -> Tensor:
    """Scales from min up to max in the middle of the clip and back, for orbits, whose ends meet."""
    position = torch.linspace(0, 1, num_frames, **_FACTORY)
    wave = 2 * (position - (position + 0.5).floor()).abs()
    return min_scale + (max_scale - min_scale) * wave


def trapezoid(num_frames: int, min_scale: float, max_scale: float) -> Tensor:
    """Scales from min up to max over the first tenth of the frames, and down again over the last tenth.

    The plateau is max_scale; the reference's is always 1.
    """
    edge = int(num_frames * TRAPEZOID_EDGE)
    rise = torch.linspace(min_scale, max_scale, edge, **_FACTORY)
    return torch.cat([rise, constant(num_frames - 2 * edge, max_scale), rise.flip(0)])


def listed(num_frames: int, scales: Sequence[float]) -> Tensor:
    """Scales of a list with one finite number for each frame; raises ValueError for another list."""
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
"""(number of frames, min, max) -> scales (T,); a constant shape has max."""


CONDITIONAL, UNCONDITIONAL = "conditional", "unconditional"
"""Names of the branches: the network under the picture, and without it."""

SPATIAL, TEMPORAL = "spatial", "temporal"
"""Names of branches under the picture that leave out attention over space, or over time, in some layers."""

Evaluate = Callable[[Sequence[str], Tensor, Tensor], Sequence[Tensor]]
"""(names of branches, x, σ) -> their clean estimates in that order, each (B·T, C, h, w)."""

Weight = Callable[[Tensor], Tensor | None]
"""σ -> the weight of each frame, (T,); None where the term does not apply."""


class Noisy(NamedTuple):
    """The latents of an evaluation, and their noise level."""

    x: Tensor
    sigma: Tensor


Change = Callable[[Tensor, Tensor, Tensor, Tensor, Noisy], Tensor]
"""(estimate so far, D_c, D_k, weights (B·T, 1, 1, 1), x and σ) -> the next estimate, (B·T, C, h, w)."""


def add_difference(
    estimate: Tensor, conditional: Tensor, other: Tensor, weights: Tensor, noisy: Noisy
) -> Tensor:
    """The estimate plus w·(D_c − D_k)."""
    return estimate + weights * (conditional - other)


@dataclass(frozen=True)
class Term:
    """One comparison of the conditional branch with another one; its change may have the state of a run."""

    branch: str  # k
    weight: Weight
    change: Change = add_difference


EVERYWHERE = (0.0, math.inf)
"""The interval of all σ."""


def cfg(scales: Tensor, interval: tuple[float, float] = EVERYWHERE) -> Term:
    """Classifier-free guidance (Ho & Salimans, 2022): scales (T,), in an interval of σ with both its ends.

    It does not apply outside of the interval (Kynkäänniemi et al., 2024), nor where all scales are 1.
    """
    # D_u + s·(D_c − D_u) = D_c + (s − 1)·(D_c − D_u)
    return Term(UNCONDITIONAL, _within(interval, scales - 1))


def apg(
    scales: Tensor,
    interval: tuple[float, float] = EVERYWHERE,
    *,
    parallel: float = 0.0,
    limit: float = 0.0,
    momentum: float = 0.0,
    whole_clip: bool = False,
) -> Term:
    """Adaptive projected guidance (Sadat et al., 2024), which burns colours less at high scales.

    parallel: share of the difference along the conditional estimate that stays. limit: largest norm of a
    frame's difference, or the clip's, 0 for none. momentum: factor of the last evaluation's difference,
    usually below 0.
    """
    change = _Projected(len(scales) if whole_clip else 1, parallel, limit, momentum)
    return Term(UNCONDITIONAL, _within(interval, scales - 1), change)


def skip(
    num_frames: int, spatial: float, temporal: float, interval: tuple[float, float] = EVERYWHERE
) -> tuple[Term, Term]:
    """Spatio-temporal skip guidance (Hyung et al., 2024): the estimate moves away from weaker networks'."""
    weights = {SPATIAL: constant(num_frames, spatial), TEMPORAL: constant(num_frames, temporal)}
    spatial, temporal = (Term(branch, _within(interval, scales)) for branch, scales in weights.items())
    return spatial, temporal


def rescaled(num_frames: int, share: float, whole_clip: bool = False) -> Term:
    """A share of the way back to the spread of the conditional branch's output (Lin et al., 2024).

    The spread is a frame's, or the clip's, of the network's output F and not of the estimate D.
    """

    def change(estimate: Tensor, conditional: Tensor, _: Tensor, weights: Tensor, noisy: Noisy) -> Tensor:
        def spread(output: Tensor) -> Tensor:
            clip = output.unflatten(0, (-1, num_frames))
            over = (1, 2, 3, 4) if whole_clip else (2, 3, 4)
            return clip.std(over, keepdim=True).expand(-1, num_frames, 1, 1, 1).flatten(0, 1)

        scaling = scalings(noisy.sigma)
        output = (estimate - scaling.c_skip * noisy.x) / scaling.c_out
        reference = (conditional - scaling.c_skip * noisy.x) / scaling.c_out
        factor = weights * spread(reference) / spread(output) + 1 - weights
        return scaling.c_skip * noisy.x + scaling.c_out * (factor * output)

    return Term(CONDITIONAL, _within(EVERYWHERE, constant(num_frames, share)), change)


CFG, APG = "cfg", "apg"

TERMS = {CFG: cfg, APG: apg}
"""(scales (T,), interval of σ) -> Term."""


class _Projected:
    """Changes an estimate by w·(D_c − D_u), less its part along D_c; keeps the difference for the next."""

    def __init__(self, together: int, parallel: float, limit: float, momentum: float):
        self._together = together  # frames that have one norm
        self._parallel, self._limit, self._momentum = parallel, limit, momentum
        self._last: Tensor | None = None

    def __call__(
        self, estimate: Tensor, conditional: Tensor, other: Tensor, weights: Tensor, noisy: Noisy
    ) -> Tensor:
        difference = conditional - other
        if self._momentum:
            if self._last is not None:
                difference = difference + self._momentum * self._last
            self._last = difference
        if self._limit:
            norm = self._product(difference, difference).sqrt()
            difference = difference * (self._limit / norm).clamp(max=1)
        share = self._product(difference, conditional) / self._product(conditional, conditional)
        along = share * conditional
        return estimate + weights * (difference - (1 - self._parallel) * along)

    def _product(self, a: Tensor, b: Tensor) -> Tensor:
        """Scalar products of frames, or of clips for each of their frames: (B·T, 1, 1, 1)."""
        products = (a * b).sum(dim=(1, 2, 3)).view(-1, self._together)
        return products.sum(1, keepdim=True).expand_as(products).reshape(-1, 1, 1, 1)


def _within(interval: tuple[float, float], weights: Tensor) -> Weight:
    """Weights that apply in an interval of σ with both its ends; all 0 never apply."""
    changes = bool((weights != 0).any())
    low, high = torch.tensor(interval, **_FACTORY).tolist()  # float32 like the sigmas, so that ends match

    def weight(sigma: Tensor) -> Tensor | None:
        if not changes:
            return None
        if tuple(interval) == EVERYWHERE:
            return weights  # without a look at σ, for which the host would wait for a GPU
        return weights if low <= float(sigma) <= high else None

    return weight


def branches_at(sigma: Tensor, terms: Iterable[Term]) -> tuple[str, ...]:
    """Names of the branches that a step at σ needs: the conditional one, then each that a term compares."""
    return _branches_of(term for term in terms if term.weight(sigma) is not None)


def guided(evaluate: Evaluate, terms: Sequence[Term], first: Tensor | None = None) -> Denoiser:
    """The denoiser guided by terms, applied in order; evaluates only the branches that a step needs.

    first: an estimate that the first term changes, in place of the conditional one.
    """

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        applied = [(term, weights) for term in terms if (weights := term.weight(sigma)) is not None]
        branches = _branches_of(term for term, _ in applied)
        estimates = dict(zip(branches, evaluate(branches, x, sigma), strict=True))
        conditional = estimates[CONDITIONAL]
        estimate = conditional if first is None else first
        for term, weights in applied:
            weights = _of_frames(weights, conditional)
            other, noisy = estimates[term.branch], Noisy(x, sigma)
            estimate = term.change(estimate, conditional, other, weights, noisy)
        return estimate

    return denoise


def _branches_of(terms: Iterable[Term]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((CONDITIONAL, *(term.branch for term in terms))))


def _of_frames(weights: Tensor, frames: Tensor) -> Tensor:
    """The weights of one video, (T,), for the frames of all videos: (B·T, 1, 1, 1)."""
    videos, rest = divmod(frames.shape[0], weights.shape[0])
    if rest or not videos:
        raise ValueError(
            f"{weights.shape[0]} scales don't fit {frames.shape[0]} frames; give one scale a frame."
        )
    return weights.to(frames, non_blocking=True).repeat(videos).view(-1, 1, 1, 1)
