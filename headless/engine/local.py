"""Samples a run: evaluates the UNet for each branch that guidance compares, and runs the solver.

Constants of a run are computed once: see RunConstants and TimeShifts in `svd_model.networks.unet`.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ...clips.conditions import Conditions
from ...clips.noise import step_noise
from ...clips.plan import Branch, Run
from ...samplers.guidance import guided
from ...samplers.preconditioning import precondition, scale_noise, scalings
from ...samplers.solvers import Denoiser, find_solver
from ...svd_model import layerwise
from ...svd_model.layerwise.memory import BoundedPlan
from ...svd_model.networks.feature_cache import DeepFeatures
from ...svd_model.networks.finite import FiniteCheck, complaint_of_sampling
from ...svd_model.networks.operations import fastest_attention
from ...svd_model.networks.pieces import Pieces
from ...svd_model.networks.residual import TimeShifts
from ...svd_model.networks.unet import RunConstants, StepShifts, VideoUNet
from . import memory
from .devices import to_device

_MOST_ROWS = 4096
"""Limit of steps × frames with precomputed shifts; each takes about 80 kB in float16."""


def sample(
    unet: VideoUNet,
    run: Run,
    dtype: torch.dtype,
    device: torch.device,
    progress: Callable[[int, int], object],
    budget: int | None = None,
) -> Tensor:
    """Latents of a run, (T, 4, h, w), float32 on the CPU; raises NotFiniteError where numbers overflow.

    `progress` is called with the number of steps done, and of all. `budget`: as of an Evaluator.
    """
    steps, next_noise = len(run.sigmas) - 1, step_noise(run.seed)

    def refuse(where: str) -> None:
        raise complaint_of_sampling(where, dtype, "use the dtype bfloat16 or float32")

    def fresh_noise(x: Tensor) -> Tensor:
        return to_device(next_noise(x.shape), x.device)

    def after_step(step: int, x: Tensor, denoised: Tensor) -> None:
        check.look_at(denoised, f"at step {step + 1} of {steps}")
        progress(step + 1, steps)

    check = FiniteCheck(refuse)
    denoise = denoiser(unet, run, dtype, budget)
    x = scale_noise(run.start.to(device), run.sigmas[0])
    solve = find_solver(run.solver, run.churn)
    progress(0, steps)
    x = solve(denoise, x, run.sigmas, noise=fresh_noise, callback=after_step)
    check.look_at(x, "after the last step")
    check.finish()
    return x.cpu()


def denoiser(unet: VideoUNet, run: Run, dtype: torch.dtype, budget: int | None = None) -> Denoiser:
    """The guided denoiser D(x, σ) of a run."""
    options = {"sigmas": run.sigmas, "feature_cache": run.feature_cache, "budget": budget}
    evaluate = Evaluator(unet, run.branches, dtype, **options)
    return guided(evaluate, run.terms)


class Evaluator:
    """Clean estimates of a clip's branches: names, x (T, 4, h, w) and σ, () on the CPU -> (T, 4, h, w) each.

    Branches go through the UNet as videos of one batch, and layers in pieces, by the fastest plan within
    `budget`: bytes for the UNet's activations, None for a share of the free ones. Where memory runs out in
    spite of it, the evaluation is done again by a smaller plan. The estimates are equal up to rounding. All
    branches have one vector. Shifts for `sigmas` are computed in advance. With `feature_cache` n the deep
    blocks run every n evaluations (Ma et al., "DeepCache", 2024); 1 is exact.
    """

    def __init__(
        self,
        unet: VideoUNet,
        branches: Mapping[str, Branch],
        dtype: torch.dtype,
        *,
        sigmas: Iterable[Tensor] = (),
        feature_cache: int = 1,
        budget: int | None = None,
    ):
        self._unet, self._branches, self._dtype = unet, branches, dtype
        self._interval, self._budget = feature_cache, budget
        self._plans: dict[tuple[str, ...], BoundedPlan[layerwise.UNetPlan]] = {}
        self._passes: dict[tuple[str, ...], _BatchedBranches] = {}
        vector = next(iter(branches.values())).conditions.vector
        self._vector = unet.label_emb(vector.to(dtype))  # (1 or T, E)
        self._shifts = self._precompute_shifts([sigma for sigma in sigmas if sigma > 0])

    def __call__(self, branches: Sequence[str], x: Tensor, sigma: Tensor) -> tuple[Tensor, ...]:
        branches = tuple(branches)
        if branches not in self._plans:
            self._plans[branches] = self._planned(len(branches), x)
        shifts = self._shifts.get(float(sigma))
        if shifts is None:
            shifts = self._precompute_shifts([sigma])[float(sigma)]

        together = self._plans[branches].plan.branches

        def evaluate(plan: layerwise.UNetPlan) -> list[Tensor]:
            if plan.branches < together:
                self._passes.clear()  # constants and deep features of batches that don't fit
            batches = _batched(branches, plan.branches)
            return [self._estimates(batch, x, sigma, shifts, plan.pieces) for batch in batches]

        with fastest_attention(x.device):
            estimates = self._plans[branches].with_budget(evaluate)
        return tuple(itertools.chain(*estimates))

    def _planned(self, count: int, x: Tensor) -> BoundedPlan[layerwise.UNetPlan]:
        """Plan for a number of branches; raises NotEnoughMemoryError for too small a budget."""
        stored = next(self._unet.parameters()).dtype
        options = {"cached": self._interval > 1, "casts": stored != self._dtype}
        size = (len(x), *x.shape[2:], self._dtype, x.device)
        planner = layerwise.UNetPlanner(self._unet.params, count, *size, **options)
        budget = self._budget
        free = memory.available(x.device) if budget is None else None
        if free is not None:
            budget = max(int(layerwise.SHARE_OF_FREE * free), planner.smallest().peak)
        return BoundedPlan(planner, budget, x.device)

    def _estimates(
        self, batch: tuple[str, ...], x: Tensor, sigma: Tensor, shifts: StepShifts, pieces: Pieces
    ) -> Tensor:
        """Clean estimates of a batch of branches, (branches, T, 4, h, w), float32 outside of the UNet."""
        if batch not in self._passes:
            conditions = [self._branches[name].conditions for name in batch]
            self._passes[batch] = _BatchedBranches(self._unet, conditions, len(x), self._dtype)
        videos = self._passes[batch]

        def network(x: Tensor, _: Tensor) -> Tensor:
            return videos(x, shifts, self._interval, pieces)

        return precondition(network)(x, sigma)

    def _precompute_shifts(self, sigmas: list[Tensor]) -> dict[float, StepShifts]:
        """Time shifts of the residual blocks at each σ, 1 or T rows, from one pass through their layers."""
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


def _batched(branches: tuple[str, ...], size: int) -> list[tuple[str, ...]]:
    """Consecutive groups of at most `size` branches."""
    return [branches[start : start + size] for start in range(0, len(branches), size)]


class _BatchedBranches:
    """The UNet over a group of branches, as videos of one batch, with their constants of the run."""

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

    def __call__(self, x: Tensor, shifts: StepShifts, interval: int, pieces: Pieces) -> Tensor:
        """Network output F of every branch for one x, (T, 4, h, w) -> (branches, T, 4, h, w), float32."""
        branches, num_frames = self._shape
        x = torch.cat([x.to(self._dtype).repeat(branches, 1, 1, 1), self._concat], dim=1)
        repeats = branches * num_frames // shifts[-1][-1].spatial.shape[0]
        shifts = _each(shifts, lambda rows: rows.repeat(repeats, 1))
        if interval == 1:
            result = self._unet.predict(x, shifts, self._constants, pieces=pieces)
        else:
            result = self._deep.predict(self._unet, interval, x, shifts, self._constants, pieces=pieces)
        return result.float().unflatten(0, self._shape)


def _each(shifts: StepShifts, change) -> StepShifts:
    """Applies a change to every tensor of the shifts."""
    return tuple(tuple(TimeShifts(*map(change, block)) for block in stage) for stage in shifts)
