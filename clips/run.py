"""Runs: ways from noise to latents, complete for an engine to sample; and how a run is sampled.

An engine gives evaluations of the UNet. What is done with them, guidance, windows, two pictures, is the same
behind every engine: `denoiser` and `solve`.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ..samplers import denoisers
from ..samplers.bidirectional import BIDIRECTIONAL, End, fading
from ..samplers.guidance import Evaluate, Term, guided
from ..samplers.preconditioning import scale_noise
from ..samplers.returning import returning_euler, time_reversal_steps
from ..samplers.solvers import Callback, Denoiser, Noise, find_solver
from ..svd_model.networks.hooks import NO_HOOKS, Hooks
from .conditions import Conditions
from .control import Control
from .low_pass import LowPass

TRF = "trf"
BETWEEN = (*BIDIRECTIONAL, TRF)
"""Names of the ways between two pictures."""


@dataclass(frozen=True)
class Branch:
    """One evaluation of the UNet, which guidance compares with others."""

    conditions: Conditions
    hooks: Hooks = NO_HOOKS


@dataclass(frozen=True)
class Between:
    """The way of a clip that ends on a picture of its own.

    `branches` and `terms` are the end picture's, as the run's are the start picture's; the frames that they
    see run backwards. Latents are (1, 4, h, w), in the diffusion model's scale. `scales`: guidance of the
    methods in BIDIRECTIONAL, (T,), counted from each picture.
    """

    method: str  # of BETWEEN
    branches: Mapping[str, Branch]
    terms: tuple[Term, ...]
    start: Tensor
    end: Tensor
    scales: Tensor


@dataclass(frozen=True)
class Windows:
    """The way of a long clip in windows, whose estimates are fused before guidance."""

    frames: tuple[tuple[int, ...], ...]  # of each window, all as many
    weights: Tensor  # of the frames of a window


@dataclass(frozen=True)
class Ring:
    """The way of a loop: tiles of `length` frames, which begin `skip` frames later in every step."""

    skip: int
    length: int


@dataclass(frozen=True)
class Hold:
    """The way of a clip whose first frames follow latents, (K, 4, h, w), down to the level `until`."""

    latents: Tensor
    until: float


Way = Between | Windows | Ring | Hold


@dataclass(frozen=True)
class Constraint:
    """Latents of a coarse video that a run follows, over any way whose frames are one clip's.

    latents: (T or 1, 4, h, w), in the diffusion model's scale. mask: where they are followed, (T or 1, 1, h,
    w) from 0 to 1, at levels above `until`; below them `frozen` says where, of such a shape.
    """

    latents: Tensor
    mask: Tensor
    until: float
    frozen: Tensor | None = None
    leads: bool = True  # whether the run starts from these latents, and not from noise alone


@dataclass(frozen=True)
class Run:
    """One way from noise to latents."""

    branches: Mapping[str, Branch]  # named as guidance names them
    terms: tuple[Term, ...]  # for this run alone: a term may have a state
    sigmas: Tensor  # (steps + 1,), on the CPU, where solvers look at them
    start: Tensor  # (T, 4, h, w) of N(0, 1)
    seed: int  # of the noise that the solver adds
    solver: str
    churn: float
    feature_cache: int
    control: Control | None = None
    way: Way | None = None  # None: all frames at once, led by one picture
    hooks: Hooks = NO_HOOKS  # of all branches, after a branch's own
    positions: int | None = None  # number of frames over whose positions those at once are spread
    low_pass: LowPass | None = None  # of the picture's latent that all branches see
    constraint: Constraint | None = None

    @property
    def frames_at_once(self) -> int:
        """How many frames the UNet takes at once."""
        if isinstance(self.way, Windows):
            return len(self.way.frames[0])
        return self.way.length if isinstance(self.way, Ring) else len(self.start)

    @property
    def branches_at_once(self) -> int:
        """How many branches may go through the UNet at once: those with the same hooks."""
        return max(Counter(branch.hooks for branch in self.branches.values()).values())

    @property
    def kept_features(self) -> int:
        """How many branches' deep features a feature cache keeps, of each picture that is seen."""
        ends = 2 if isinstance(self.way, Between) else 1
        return ends * len(self.branches) if self.feature_cache > 1 else 0


MakeEvaluate = Callable[[Mapping[str, Branch]], Evaluate]
"""Evaluations of branches by an engine, with the constants and the state of a run of their own."""


def denoiser(run: Run, make_evaluate: MakeEvaluate) -> Denoiser:
    """The guided denoiser D(x, σ) of a run, for any solver; of a way in BIDIRECTIONAL the start's alone."""
    denoise = _of_way(run, make_evaluate)
    return denoise if run.constraint is None else constrained(denoise, run.constraint)


def first_x(run: Run, noise: Tensor) -> Tensor:
    """The x at a run's first level; noise: its start, on the engine's device."""
    constraint, sigma = run.constraint, run.sigmas[0]
    if constraint is not None and constraint.leads:
        return constraint.latents.to(noise) + sigma.to(noise) * noise
    return scale_noise(noise, sigma)


def _of_way(run: Run, make_evaluate: MakeEvaluate) -> Denoiser:
    way, evaluate = run.way, make_evaluate(run.branches)
    if isinstance(way, Windows):
        evaluate = _in_windows(evaluate, way)
    denoise = guided(evaluate, run.terms)
    if isinstance(way, Between) and way.method == TRF:
        backward = denoisers.flipped(guided(make_evaluate(way.branches), way.terms))
        return denoisers.fused(denoise, backward, fading(len(run.start)))
    if isinstance(way, Ring):
        return denoisers.shifted(denoise, run.sigmas, way.skip, way.length)
    if isinstance(way, Hold):
        return _holding(denoise, run, way)
    return denoise


def solve(run: Run, make_evaluate: MakeEvaluate, x: Tensor, noise: Noise, callback: Callback) -> Tensor:
    """Latents of a run, from the x at its first level. Its recipe puts the pictures at its ends."""
    way, options = run.way, {"noise": noise, "callback": callback}
    if isinstance(way, Between) and way.method in BIDIRECTIONAL:
        return _between(run, way, make_evaluate, x, options)
    return solver_of(run)(denoiser(run, make_evaluate), x, run.sigmas, **options)


def solver_of(run: Run) -> Callable[..., Tensor]:
    """The solver of a run, for its guided denoiser; none of a way in BIDIRECTIONAL."""
    if isinstance(run.way, Between) and run.solver == "euler" and run.churn == 0:
        return time_reversal_euler
    return find_solver(run.solver, run.churn)


def _between(run: Run, way: Between, make_evaluate: MakeEvaluate, x: Tensor, options: dict) -> Tensor:
    """Latents of a run by a way in BIDIRECTIONAL."""

    def end(branches: Mapping[str, Branch], latent: Tensor) -> End:
        return End(make_evaluate(branches), latent.to(x), way.scales)

    start, last = end(run.branches, way.start), end(way.branches, way.end)
    return BIDIRECTIONAL[way.method](start, last, x, run.sigmas, **options)


def time_reversal_euler(denoise: Denoiser, x: Tensor, sigmas: Tensor, **options) -> Tensor:
    """Time-reversal fusion's own solver: Euler's, which returns to earlier levels at first."""
    return returning_euler(
        denoise, x, sigmas, after=time_reversal_steps(len(sigmas) - 1), length=5, **options
    )


def _in_windows(evaluate: Evaluate, way: Windows) -> Evaluate:
    @cache
    def fused(branches: tuple[str, ...]) -> Denoiser:
        def estimates(x: Tensor, sigma: Tensor) -> Tensor:
            return torch.stack(tuple(evaluate(branches, x, sigma)))

        return denoisers.windowed(estimates, way.frames, way.weights)

    return lambda branches, x, sigma: fused(tuple(branches))(x, sigma)


def constrained(denoise: Denoiser, constraint: Constraint) -> Denoiser:
    """The denoiser that follows the mask of a constraint above its level, and the frozen part below it."""
    latents, until, frozen = constraint.latents, constraint.until, constraint.frozen
    above = denoisers.constrained(denoise, latents, constraint.mask, until)
    below = denoise if frozen is None else denoisers.constrained(denoise, latents, frozen, 0.0)

    def denoise_constrained(x: Tensor, sigma: Tensor) -> Tensor:
        return (above if sigma > until else below)(x, sigma)

    return denoise_constrained


def _holding(denoise: Denoiser, run: Run, way: Hold) -> Denoiser:
    noise = run.start[: len(way.latents)]

    def denoise_held(x: Tensor, sigma: Tensor) -> Tensor:
        line = way.latents.to(x), noise.to(x)
        return denoisers.held(denoise, *line, run.sigmas, way.until)(x, sigma)

    return denoise_held
