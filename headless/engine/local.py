"""Samples a run: evaluates the UNet for each branch that guidance compares, and runs the solver.

Constants of a run are computed once: see RunConstants and TimeShifts in `svd_model.networks.unet`.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ...clips import run as runs
from ...clips.low_pass import LowPass
from ...clips.noise import step_noise
from ...clips.run import Branch, Run
from ...samplers.guidance import CONDITIONAL
from ...samplers.preconditioning import precondition
from ...samplers.solvers import Denoiser
from ...svd_model import layerwise
from ...svd_model.layerwise.memory import BoundedPlan
from ...svd_model.networks.controlnet import ControlNet
from ...svd_model.networks.early_features import EarlyFeatures, first_changed
from ...svd_model.networks.feature_cache import DeepFeatures, FeatureCache
from ...svd_model.networks.finite import FiniteCheck, complaint_of_sampling
from ...svd_model.networks.hooks import NO_HOOKS, Hooks, Place, both
from ...svd_model.networks.operations import fastest_attention
from ...svd_model.networks.pieces import Pieces
from ...svd_model.networks.references import References
from ...svd_model.networks.sharing import FrameShare
from ...svd_model.networks.stages import StepShifts
from ...svd_model.networks.steering import spread
from ...svd_model.networks.unet import VideoUNet
from . import memory, parallel
from .control import Controller
from .devices import to_device
from .ranks import Group, Ranks
from .shifts import ShiftTable, each, for_rows


def sample(
    unet: VideoUNet,
    run: Run,
    dtype: torch.dtype,
    device: torch.device,
    progress: Callable[[int, int], object],
    budget: int | None = None,
    control: ControlNet | None = None,
    ranks: Ranks | None = None,
) -> Tensor:
    """Latents of a run, (T, 4, h, w), float32 on the CPU; raises NotFiniteError where numbers overflow.

    `progress` is called with the number of steps done, and of all. `budget`: as of an Evaluator.
    `control`: the network for a run with a control. `ranks`: among which branches are divided, and with more
    of them than branches frames.
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
    make_evaluate = _evaluations(unet, run, dtype, budget, control, ranks)
    x = runs.first_x(run, run.start.to(device))
    progress(0, steps)
    x = runs.solve(run, make_evaluate, x, fresh_noise, after_step)
    check.look_at(x, "after the last step")
    check.finish()
    return x.cpu()


def denoiser(
    unet: VideoUNet,
    run: Run,
    dtype: torch.dtype,
    budget: int | None = None,
    control: ControlNet | None = None,
    ranks: Ranks | None = None,
) -> Denoiser:
    """The guided denoiser D(x, σ) of a run; `ranks`: as of `sample`."""
    return runs.denoiser(run, _evaluations(unet, run, dtype, budget, control, ranks))


def _evaluations(
    unet: VideoUNet,
    run: Run,
    dtype: torch.dtype,
    budget: int | None,
    control: ControlNet | None,
    ranks: Ranks | None,
) -> runs.MakeEvaluate:
    size = ranks.size if ranks else 1
    together = parallel.group_size(run, unet.params, size)
    kept = parallel.share(run.kept_features, size // together)
    options = {"sigmas": run.sigmas, "feature_cache": run.feature_cache, "budget": budget}
    options |= {"kept_features": kept, "hooks": run.hooks, "positions": run.positions}
    options |= {"low_pass": run.low_pass, "group": ranks.group(together) if together > 1 else None}
    if run.control is not None:
        vector = run.branches[CONDITIONAL].conditions.vector
        options["controller"] = Controller(control, run.control, vector, dtype, run.sigmas)

    def make(branches: Mapping[str, Branch]) -> Evaluator:
        return Evaluator(unet, branches, dtype, **options)

    return make if ranks is None else parallel.divided(make, ranks, together)


class Evaluator:
    """Clean estimates of a clip's branches: names, x (T, 4, h, w) and σ, () on the CPU -> (T, 4, h, w) each.

    Branches go through the UNet as videos of one batch, and layers in pieces, by the fastest plan within
    `budget`: bytes for the UNet's activations, None for a share of the free ones. Where memory runs out in
    spite of it, the evaluation is done again by a smaller plan. The estimates are equal up to rounding.
    Branches with hooks of their own have batches of their own. One with the conditional branch's conditions
    begins from its features, at the stage that the hooks first change, where the budget has room for them.
    All branches have one vector, and all a camera or none. Shifts for `sigmas` are computed in advance. With
    `feature_cache` n the deep blocks run every n evaluations, and where a branch joins or leaves; 1 is exact.
    `kept_features` says of how many branches they are kept, where another Evaluator has its own. A
    `controller` changes each evaluation of the UNet and runs in its batches and pieces. `hooks` go after each
    branch's own. `positions`: the number of frames over whose positions the clip's are spread. `low_pass`: of
    the picture that every branch sees. With a `group` each of its ranks evaluates some of the frames, and has
    the estimates of all; memory that runs out is an error then, since others wait for the rank.
    """

    def __init__(
        self,
        unet: VideoUNet,
        branches: Mapping[str, Branch],
        dtype: torch.dtype,
        *,
        sigmas: Iterable[Tensor] = (),
        feature_cache: int = 1,
        kept_features: int | None = None,
        budget: int | None = None,
        controller: Controller | None = None,
        hooks: Hooks = NO_HOOKS,
        positions: int | None = None,
        low_pass: LowPass | None = None,
        group: Group | None = None,
    ):
        self._unet, self._dtype, self._positions, self._low_pass = unet, dtype, positions, low_pass
        self._group = group
        self._branches = {
            name: replace(branch, hooks=both(branch.hooks, hooks)) for name, branch in branches.items()
        }
        self._interval, self._budget, self._controller = feature_cache, budget, controller
        self._kept_features = len(branches) if kept_features is None else kept_features
        self._plans: dict[tuple[tuple[str, ...], bool], BoundedPlan[layerwise.UNetPlan]] = {}
        self._passes: dict[tuple[str, ...], _BatchedBranches] = {}
        vector = next(iter(branches.values())).conditions.vector
        self._shifts = ShiftTable(unet, vector, dtype, sigmas)
        self._followers = _followers(branches)
        self._fork = fork_of(branches, unet.places)
        self._features = FeatureCache()
        self._deep: DeepFeatures | None = None  # of the evaluations at one x
        self._early: EarlyFeatures | None = None  # the same
        self._has_room: bool | None = None  # for these; None: not asked yet

    def __call__(
        self, branches: Sequence[str], x: Tensor, sigma: Tensor, among: Sequence[str] = ()
    ) -> tuple[Tensor, ...]:
        """Evaluate branches. among: all that are evaluated at this x, also by other ranks."""
        estimates, shares = {}, self._shares(branches, x)
        kept = nullcontext()
        if self._interval > 1:
            kept = self._features.evaluation(branches, self._interval, sigma.item(), others=among)
        try:
            with kept as self._deep:
                for group in self._alike(branches):
                    estimates |= zip(group, self._together(group, x, sigma, shares), strict=True)
        finally:
            self._deep = self._early = None
        return tuple(estimates[name] for name in branches)

    def _alike(self, branches: Sequence[str]) -> list[tuple[str, ...]]:
        """The branches in groups that have the same hooks."""
        groups: dict[Hooks, tuple[str, ...]] = {}
        for name in branches:
            hooks = self._branches[name].hooks
            groups[hooks] = (*groups.get(hooks, ()), name)
        return list(groups.values())

    def _shares(self, branches: Sequence[str], x: Tensor) -> bool:
        """Whether branches that follow the conditional one begin from its features, which must have room."""
        if self._fork is None or self._followers.isdisjoint(branches):
            return False
        if self._has_room is None:
            room = self._room(x.device)
            self._has_room = room is None or self._planner(1, x, True).smallest().peak <= room
        return self._has_room

    def _together(
        self, branches: tuple[str, ...], x: Tensor, sigma: Tensor, shares: bool
    ) -> tuple[Tensor, ...]:
        """Estimates of branches with the same hooks."""
        key = branches, shares
        if key not in self._plans:
            self._plans[key] = self._planned(len(branches), x, shares)
        shifts, together = self._shifts.at(sigma), self._plans[key].plan.branches

        def evaluate(plan: layerwise.UNetPlan) -> list[Tensor]:
            if plan.branches < together:
                self._passes.clear()  # constants of batches that don't fit
            estimates = []
            for batch in _batched(branches, plan.branches):
                early = self._early_of(batch, len(x)) if shares else None
                estimates.append(self._estimates(batch, x, sigma, shifts, plan.pieces, early))
            return estimates

        with fastest_attention(x.device):
            estimates = self._plans[key].with_budget(evaluate, again=self._group is None)
        return tuple(itertools.chain(*estimates))

    def _early_of(self, batch: tuple[str, ...], num_frames: int) -> EarlyFeatures | None:
        """The features that a batch shares: new ones with the conditional branch, then those for others."""
        if CONDITIONAL in batch:
            first = num_frames * batch.index(CONDITIONAL)
            self._early = EarlyFeatures(self._fork, slice(first, first + num_frames))
        elif len(batch) > 1 or batch[0] not in self._followers:
            return None
        return self._early

    def _planned(self, count: int, x: Tensor, shares: bool) -> BoundedPlan[layerwise.UNetPlan]:
        """Plan for a number of branches; raises NotEnoughMemoryError for too small a budget."""
        planner, room = self._planner(count, x, shares), self._room(x.device)
        if self._budget is None and room is not None:
            room = max(room, planner.smallest().peak)
        return BoundedPlan(planner, room, x.device)

    def _room(self, device: torch.device) -> int | None:
        """Bytes for activations, None where nothing says how many are free."""
        if self._budget is not None:
            return self._budget
        free = memory.available(device)
        return None if free is None else int(layerwise.SHARE_OF_FREE * free)

    def _planner(self, count: int, x: Tensor, shares: bool) -> layerwise.UNetPlanner:
        """Planner for a number of branches; shares: whether features of one are kept for others."""
        kept = -(-self._kept_features // count)  # in sets of so many branches
        stored, controlled = {next(self._unet.parameters()).dtype}, self._controller is not None
        if controlled:
            stored.add(self._controller.dtype)
        options = {
            "cached": kept if self._interval > 1 else 0,
            "casts": stored != {self._dtype},
            "controlled": controlled,
            "early": self._fork if shares else None,
            "exchanges": self._group is not None,
        }
        frames = parallel.share(len(x), self._group.size if self._group else 1)
        size = (frames, *x.shape[2:], self._dtype, x.device)
        return layerwise.UNetPlanner(self._unet.params, count, *size, **options)

    def _estimates(
        self,
        batch: tuple[str, ...],
        x: Tensor,
        sigma: Tensor,
        shifts: StepShifts,
        pieces: Pieces,
        early: EarlyFeatures | None,
    ) -> Tensor:
        """Clean estimates of a batch of branches, (branches, T, 4, h, w), float32 outside of the UNet."""
        if batch not in self._passes:
            branches = [self._branches[name] for name in batch]
            positions = None if self._positions is None else spread(len(x), self._positions)
            self._passes[batch] = _BatchedBranches(
                self._unet,
                branches,
                len(x),
                self._dtype,
                self._controller,
                positions,
                self._low_pass,
                parallel.share_of(len(x), self._group),
            )
        videos = self._passes[batch]

        def network(x: Tensor, _: Tensor) -> Tensor:
            predict = self._unet.predict
            if self._deep is not None:
                predict = partial(self._deep.predict, self._unet, batch)
            return videos(predict, x, sigma, shifts, pieces, early)

        return precondition(network)(x, sigma)


def fork_of(branches: Mapping[str, Branch], places: Sequence[Place]) -> int | None:
    """Number of the stage before which branches share the conditional one's features; None where none do."""
    hooks = [branches[name].hooks for name in _followers(branches)]
    fork = first_changed(hooks, places)
    return fork if 1 < fork < len(places) else None


def _followers(branches: Mapping[str, Branch]) -> frozenset[str]:
    """Names of the branches that are the conditional one but for hooks of their own."""
    lead = branches.get(CONDITIONAL)
    if lead is None or lead.hooks is not NO_HOOKS:
        return frozenset()
    return frozenset(
        name
        for name, branch in branches.items()
        if branch.conditions is lead.conditions and branch.hooks is not NO_HOOKS
    )


def _batched(branches: tuple[str, ...], size: int) -> list[tuple[str, ...]]:
    """Consecutive groups of at most `size` branches."""
    return [branches[start : start + size] for start in range(0, len(branches), size)]


class _BatchedBranches:
    """The UNet over branches with the same hooks, as videos of one batch, with their constants of the run."""

    def __init__(
        self,
        unet: VideoUNet,
        branches: list[Branch],
        num_frames: int,
        dtype: torch.dtype,
        controller: Controller | None,
        positions: Tensor | None,
        low_pass: LowPass | None,
        share: FrameShare | None,
    ):
        self._dtype, self._controller, self._share = dtype, controller, share
        self._shape, self._hooks = (len(branches), num_frames), branches[0].hooks
        concat, context, vector, camera = (
            _rows([getattr(branch.conditions, name) for branch in branches], num_frames, dtype)
            for name in ("concat", "context", "vector", "camera")
        )
        references = _references([branch.conditions.references for branch in branches], num_frames, dtype)
        self._concat, self._low_pass = concat, low_pass
        self._constants = unet.prepare(context, vector, num_frames, camera, positions, references)
        if share is not None:
            self._constants = self._constants.shared(share)
        if controller is not None:
            self._constants_of_control = controller.prepare(context, vector, num_frames, positions)

    def __call__(
        self,
        predict: Callable[..., Tensor],
        x: Tensor,
        sigma: Tensor,
        shifts: StepShifts,
        pieces: Pieces,
        early: EarlyFeatures | None,
    ) -> Tensor:
        """Network output F of every branch for one x, (T, 4, h, w) -> (branches, T, 4, h, w), float32.

        predict: the UNet's, of all or a part of its layers.
        """
        branches, num_frames = self._shape
        picture = self._concat if self._low_pass is None else self._low_pass.at(self._concat, sigma)
        x = torch.cat([x.to(self._dtype).repeat(branches, 1, 1, 1), picture], dim=1)
        shifts, hooks = for_rows(shifts, branches * num_frames), self._hooks
        if self._share is not None:
            x, shifts = self._share.rows(x), each(shifts, self._share.rows)
        if self._controller is not None:
            hooks = both(hooks, self._controller.hooks(x, sigma, self._constants_of_control, pieces))
        result = predict(x, shifts, self._constants, hooks, pieces=pieces, early=early)
        result = result.float().unflatten(0, (branches, -1))
        return result if self._share is None else self._share.whole(result)


def _references(
    references: list[References | None], num_frames: int, dtype: torch.dtype
) -> References | None:
    """References of several branches with a row a frame, all or none of which have some."""
    if references[0] is None:
        return None
    return References(*(_rows(list(each), num_frames, dtype) for each in zip(*references, strict=True)))


def _rows(conditions: list[Tensor | None], num_frames: int, dtype: torch.dtype) -> Tensor | None:
    """One condition of several branches with a row a frame, (branches · T, …), None where there is none."""
    if conditions[0] is None:
        return None
    return torch.cat([of_one.expand(num_frames, *of_one.shape[1:]) for of_one in conditions]).to(dtype)
