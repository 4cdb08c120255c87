"""The denoiser that a solver calls: the UNet under the conditions of one clip, guided.

What does not change between steps is computed once: see `svd_model.unet.RunConstants` and `TimeShifts`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ...clips.conditions import Conditions
from ...samplers import guidance
from ...samplers.preconditioning import precondition, scalings
from ...svd_model.networks.feature_cache import DeepFeatures
from ...svd_model.networks.operations import fastest_attention
from ...svd_model.networks.unet import RunConstants, StepShifts, TimeShifts, VideoUNet
from .devices import to_device

_MOST_ROWS = 4096
"""Of steps × frames whose shifts are made ahead; each takes about 80 kB in float16."""


@dataclass(frozen=True)
class Guidance:
    """A scale for each frame, (T,), and the lowest and highest σ where guidance applies, both included."""

    scales: Tensor
    interval: tuple[float, float] = guidance.EVERYWHERE


class Denoiser:
    """D(x, σ) of one clip, guided: (T, 4, h, w) and σ of no dimensions, on the CPU -> (T, 4, h, w), float32.

    With `batch_branches` the conditional and the unconditional branch go through the UNet as two videos of
    one batch, else one after the other, which takes half the memory; the result is equal up to rounding.
    `sigmas` are known ahead. `feature_cache`: only every so many evaluations the whole UNet is computed;
    between them its last block alone, on cached deep features (Ma et al., "DeepCache", 2024); 1 is exact.
    """

    def __init__(
        self,
        unet: VideoUNet,
        conditions: Conditions,
        guided: Guidance,
        dtype: torch.dtype,
        *,
        batch_branches: bool = True,
        sigmas: Iterable[Tensor] = (),
        feature_cache: int = 1,
    ):
        self._unet, self._dtype = unet, dtype
        self._conditions = (conditions, conditions.unconditional())
        self._interval = feature_cache
        branches = (partial(self._branch, index) for index in (0, 1))
        both = partial(self._estimates, (0, 1)) if batch_branches else None
        self._guided = guidance.guided(*branches, guided.scales, guided.interval, both)
        self._passes: dict[tuple[int, ...], _BatchedBranches] = {}
        vector = conditions.vector.to(dtype)
        self._vector = unet.label_emb(vector)  # (1 or T, E)
        self._shifts = self._precompute_shifts([sigma for sigma in sigmas if sigma > 0])

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        with fastest_attention(x.device):
            return self._guided(x, sigma)

    def _branch(self, branch: int, x: Tensor, sigma: Tensor) -> Tensor:
        return self._estimates((branch,), x, sigma)[0]

    def _estimates(self, branches: tuple[int, ...], x: Tensor, sigma: Tensor) -> Tensor:
        """The clean estimates of some branches, (branches, T, 4, h, w), float32 outside of the UNet."""
        if branches not in self._passes:
            given = [self._conditions[branch] for branch in branches]
            self._passes[branches] = _BatchedBranches(self._unet, given, len(x), self._dtype)
        videos = self._passes[branches]
        shifts = self._shifts.get(float(sigma))
        if shifts is None:
            shifts = self._precompute_shifts([sigma])[float(sigma)]

        def network(x: Tensor, _: Tensor) -> Tensor:
            return videos(x, shifts, self._interval)

        return precondition(network)(x, sigma)

    def _precompute_shifts(self, sigmas: list[Tensor]) -> dict[float, StepShifts]:
        """What the residual blocks add at each σ, one or T rows each, from one pass through their layers."""
        rows = self._vector.shape[0]
        sigmas = sigmas[: _MOST_ROWS // rows]
        if not sigmas:
            return {}
        steps = torch.stack([scalings(sigma).c_noise for sigma in sigmas]).repeat_interleave(rows)
        steps = to_device(steps, self._vector.device)
        constants = RunConstants(self._vector.repeat(len(sigmas), 1), (), 1)
        shifts = self._unet.shifts(steps, constants)
        return {
            float(sigma): _each(shifts, lambda rows_of, i=i: rows_of[i * rows : (i + 1) * rows])
            for i, sigma in enumerate(sigmas)
        }


class _BatchedBranches:
    """Some branches as the videos of one batch."""

    def __init__(self, unet: VideoUNet, branches: list[Conditions], num_frames: int, dtype: torch.dtype):
        self._unet, self._dtype = unet, dtype
        self._shape = (len(branches), num_frames)
        concat, context, vector = (
            torch.cat([getattr(b, name).expand(num_frames, *[-1] * (ndim - 1)) for b in branches]).to(dtype)
            for name, ndim in (("concat", 4), ("context", 3), ("vector", 2))
        )
        self._concat = concat
        self._constants = unet.prepare(context, vector, num_frames)
        self._deep = DeepFeatures()

    def __call__(self, x: Tensor, shifts: StepShifts, interval: int) -> Tensor:
        """F of every branch for the same x, (T, 4, h, w) -> (branches, T, 4, h, w), float32."""
        branches, num_frames = self._shape
        x = torch.cat([x.to(self._dtype).repeat(branches, 1, 1, 1), self._concat], dim=1)
        repeats = branches * num_frames // shifts[-1][-1].spatial.shape[0]
        shifts = _each(shifts, lambda rows: rows.repeat(repeats, 1))
        if interval == 1:
            result = self._unet.predict(x, shifts, self._constants)
        else:
            result = self._deep.predict(self._unet, interval, x, shifts, self._constants)
        return result.float().unflatten(0, self._shape)


def _each(shifts: StepShifts, change) -> StepShifts:
    """The shifts with every tensor changed."""
    return tuple(tuple(TimeShifts(*map(change, block)) for block in stage) for stage in shifts)
