"""Estimates of branches: equal to plain evaluations of the UNet, however the work is divided."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stillmotion.clips.camera import named_track
from stillmotion.clips.conditions import Conditions
from stillmotion.clips.plan import Plan
from stillmotion.clips.presets import ANIMATE_LCM
from stillmotion.clips.run import Branch
from stillmotion.clips.settings import Settings
from stillmotion.headless.engine import local, memory
from stillmotion.headless.engine.local import Evaluator
from stillmotion.headless.engine.local import denoiser as denoiser_of
from stillmotion.samplers import preconditioning, schedules, solvers
from stillmotion.samplers.guidance import CONDITIONAL, EVERYWHERE, UNCONDITIONAL, cfg, guided
from stillmotion.svd_model import layerwise
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.sources import TensorFile
from stillmotion.svd_model.checkpoint.variants import SVD_XT
from stillmotion.svd_model.networks.unet import VideoUNet
from support import checkpoints, golden_family, tiny
from support.failing_allocations import FailingAllocations
from support.live_memory import MemoryLimit
from support.rounding import Reference

FRAMES, HEIGHT, WIDTH = 3, 8, 16
SCALES = torch.linspace(1, 3, FRAMES)
SIGMA = torch.tensor(1.5)


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    checkpoint = Checkpoint(TensorFile.of_tensors(Path("svd.safetensors"), checkpoints.tensors("svd")))
    return checkpoint.unet.load(dtype=torch.float32, device="cpu")


@pytest.fixture(scope="module")
def exact(unet) -> VideoUNet:
    """The network in float64."""
    return deepcopy(unet).double()


@pytest.fixture(scope="module")
def plain(unet, exact):
    """Computes what `plainly` does, in float32 and in float64."""

    def reference(given: Conditions, sigma: Tensor, scales: Tensor = SCALES) -> Reference:
        return Reference(
            plainly(unet, given, picture(), sigma, scales),
            plainly(exact, doubled(given), picture().double(), sigma.double(), scales.double()),
        )

    return reference


def doubled(given: Conditions) -> Conditions:
    return Conditions(given.context.double(), given.concat.double(), given.vector.double())


def conditions(vectors: int = 1, seed: int = 3) -> Conditions:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    width = tiny.UNET.context_dim
    return Conditions(random(1, 1, width), random(1, 4, HEIGHT, WIDTH), random(vectors, tiny.UNET.vector_dim))


def picture() -> Tensor:
    return torch.randn(FRAMES, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5))


def plainly(unet: VideoUNet, given: Conditions, x: Tensor, sigma: Tensor, scales: Tensor = SCALES) -> Tensor:
    """Both branches by `forward`, one after the other, and guided."""
    conditional = plain_estimate(unet, given, x, sigma)
    unconditional = plain_estimate(unet, given.unconditional(), x, sigma)
    return unconditional + scales.view(-1, 1, 1, 1) * (conditional - unconditional)


def plain_estimate(unet: VideoUNet, given: Conditions, x: Tensor, sigma: Tensor) -> Tensor:
    """The clean estimate of one branch by `forward`."""

    def network(x: Tensor, c_noise: Tensor) -> Tensor:
        rows = (c_noise.expand(FRAMES), given.context.expand(FRAMES, -1, -1))
        x = torch.cat([x, given.concat.expand(FRAMES, -1, -1, -1)], dim=1)
        return unet(x, *rows, given.vector.expand(FRAMES, -1), FRAMES, camera=given.camera)

    return preconditioning.precondition(network)(x, sigma)


def denoiser(
    unet: VideoUNet, given: Conditions, interval=EVERYWHERE, dtype=torch.float32, **options
) -> Callable:
    """The evaluator of two branches, guided by SCALES."""
    branches = {CONDITIONAL: Branch(given), UNCONDITIONAL: Branch(given.unconditional())}
    return guided(Evaluator(unet, branches, dtype, **options), [cfg(SCALES, interval)])


def planner(branches: int = 2, cached: bool = False) -> layerwise.UNetPlanner:
    size = (FRAMES, HEIGHT, WIDTH)
    return layerwise.UNetPlanner(tiny.UNET, branches, *size, torch.float32, torch.device("cpu"), cached)


def leave_room(monkeypatch, branches: int, wanted: int = 2, cached: bool = False) -> None:
    """Sets the free memory to hold so many of the wanted branches at once, and no more."""
    plans = planner(wanted, cached)
    peaks = range(plans.smallest().peak, plans.within(None).peak + 2**10, 2**10)
    needed = [peak for peak in peaks if plans.within(peak).branches <= max(branches, 1)][-1]
    free = math.ceil((needed + 1) / layerwise.SHARE_OF_FREE)
    monkeypatch.setattr(memory, "available", lambda device: free if branches else 0)


def in_batches(at_once: int, branches: tuple[str, ...], _: int) -> list[tuple[str, ...]]:
    """The branches in batches of so many, whatever the plan says."""
    return [branches[start : start + at_once] for start in range(0, len(branches), at_once)]


def record_batches(unet: VideoUNet, monkeypatch) -> list[int]:
    """The list that the number of videos of every later evaluation goes to."""
    batches, predict = [], unet.predict

    def recorded(x: Tensor, *rest, **options) -> Tensor:
        batches.append(len(x) // FRAMES)
        return predict(x, *rest, **options)

    monkeypatch.setattr(unet, "predict", recorded)
    return batches


@torch.no_grad()
@pytest.mark.parametrize("vectors", [1, FRAMES], ids=["one vector", "a vector for each frame"])
@pytest.mark.parametrize("known", [True, False], ids=["sigma known ahead", "sigma not known ahead"])
@pytest.mark.parametrize("at_once", [2, 1], ids=["together", "one after the other"])
def test_equals_both_branches_evaluated_alone(unet, plain, monkeypatch, at_once, known, vectors):
    leave_room(monkeypatch, at_once)
    batches = record_batches(unet, monkeypatch)
    given = conditions(vectors)
    sigmas = schedules.karras(5) if not known else torch.tensor([700, 1.5, 0.1, 0])
    estimate = denoiser(unet, given, sigmas=sigmas)(picture(), SIGMA)
    assert batches == [at_once] * (2 // at_once)
    assert plain(given, SIGMA).error(estimate) < 1


@torch.no_grad()
@pytest.mark.parametrize("at_once, expected", [(0, [1, 1, 1]), (1, [1, 1, 1]), (2, [2, 1]), (3, [3])])
def test_as_many_branches_go_together_as_the_free_memory_holds(unet, exact, monkeypatch, at_once, expected):
    """Each estimate is its branch's, in the order asked for."""
    first, last = conditions(), conditions(seed=11)
    told = {"a": first, "b": first.unconditional(), "c": Conditions(last.context, last.concat, first.vector)}
    leave_room(monkeypatch, at_once, 3)
    batches = record_batches(unet, monkeypatch)
    evaluate = Evaluator(unet, {name: Branch(given) for name, given in told.items()}, torch.float32)
    names = ("c", "a", "b")
    estimates = evaluate(names, picture(), SIGMA)
    assert batches == expected
    for name, estimate in zip(names, estimates, strict=True):
        reference = Reference(
            plain_estimate(unet, told[name], picture(), SIGMA),
            plain_estimate(exact, doubled(told[name]), picture().double(), SIGMA.double()),
        )
        assert reference.error(estimate) < 1


@torch.no_grad()
def test_all_branches_go_together_where_the_device_does_not_tell_its_memory(unet, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: None)
    batches = record_batches(unet, monkeypatch)
    denoiser(unet, conditions())(picture(), SIGMA)
    assert batches == [2]


@torch.no_grad()
def test_each_known_step_gets_its_own_shifts(unet, plain):
    sigmas = schedules.karras(4)
    denoise = denoiser(unet, conditions(), sigmas=sigmas)
    for sigma in sigmas[:-1]:
        assert plain(conditions(), sigma).error(denoise(picture(), sigma)) < 1


@torch.no_grad()
def test_outside_of_the_interval_one_branch_is_evaluated(unet, plain, monkeypatch):
    batches = record_batches(unet, monkeypatch)
    denoise = denoiser(unet, conditions(), (1.0, math.inf))
    denoise(picture(), SIGMA)
    outside = torch.tensor(0.5)
    only_conditional = denoise(picture(), outside)
    assert batches == [2, 1]
    assert plain(conditions(), outside, torch.ones(FRAMES)).error(only_conditional) < 1


@torch.no_grad()
@pytest.mark.parametrize("interval", [1, 2])
def test_an_evaluation_is_done_again_by_smaller_plans_where_memory_runs_out(unet, plain, interval):
    evaluate = denoiser(unet, conditions(), feature_cache=interval)
    for limit in (planner().within(None).peak * 2 // 3, 2 * planner().smallest().peak):
        with MemoryLimit(limit):
            estimate = evaluate(picture(), SIGMA)
        assert plain(conditions(), SIGMA).error(estimate) < 1


@torch.no_grad()
def test_a_failing_allocation_anywhere_is_survived(unet, plain):
    denoiser(unet, conditions())(picture(), SIGMA)
    with FailingAllocations() as counting:
        denoiser(unet, conditions(), budget=2**40)(picture(), SIGMA)
    whole = planner().within(None).calls
    for position in torch.linspace(whole, counting.count - 10, 12).long().tolist():
        evaluate = denoiser(unet, conditions(), budget=2**40)
        with FailingAllocations(position):
            estimate = evaluate(picture(), SIGMA)
        assert plain(conditions(), SIGMA).error(estimate) < 1, f"operation {position}"


@torch.no_grad()
def test_too_small_a_budget_is_refused_with_the_smallest_that_works(unet):
    smallest = planner().smallest().peak
    with pytest.raises(layerwise.NotEnoughMemoryError) as caught:
        denoiser(unet, conditions(), budget=smallest - 1)(picture(), SIGMA)
    assert caught.value.smallest == smallest
    denoiser(unet, conditions(), budget=smallest)(picture(), SIGMA)


class TestFeatureCache:
    @torch.no_grad()
    @pytest.mark.parametrize("at_once", [2, 1])
    def test_computes_the_deep_blocks_at_every_nth_evaluation(self, unet, monkeypatch, at_once):
        leave_room(monkeypatch, at_once, cached=True)
        calls = []
        deep = unet.deep
        monkeypatch.setattr(
            unet, "deep", lambda *given, **options: calls.append(1) or deep(*given, **options)
        )
        cached = denoiser(unet, conditions(), feature_cache=3)
        for sigma in (5.0, 4.0, 3.0, 2.0):
            cached(picture(), torch.tensor(sigma))
        assert len(calls) == 2 * (2 // at_once)

    @torch.no_grad()
    @pytest.mark.parametrize("changes", [[2, 2, 2, 2, 2], [2, 1, 2, 2, 1], [1, 2, 1, 2, 2]])
    def test_the_free_memory_does_not_choose_whose_features_are_taken(self, unet, monkeypatch, changes):
        """With guidance from the second step to the fourth: branches come and go, together or one by one."""
        levels = [torch.tensor(sigma) for sigma in (9.0, 5.0, 4.0, 3.0, 1.0)]

        def estimates(each: list[int], unet: VideoUNet, given: Conditions, x: Tensor) -> list[Tensor]:
            evaluate = denoiser(unet, given, (2.0, 6.0), x.dtype, feature_cache=2)
            found = []
            for at_once, sigma in zip(each, levels, strict=True):
                monkeypatch.setattr(local, "_batched", partial(in_batches, at_once))
                found.append(evaluate(x, sigma.to(x.dtype)))
            return found

        alone, given, x = [1] * len(levels), conditions(), picture()
        exact = estimates(alone, deepcopy(unet).double(), doubled(given), x.double())
        references = map(Reference, estimates(alone, unet, given, x), exact)
        for found, reference in zip(estimates(changes, unet, given, x), references, strict=True):
            assert reference.error(found) <= 1

    @torch.no_grad()
    def test_an_evaluation_that_computes_all_is_exact(self, unet, plain):
        cached = denoiser(unet, conditions(), feature_cache=2)
        assert plain(conditions(), SIGMA).error(cached(picture(), SIGMA)) < 1
        assert (cached(picture(), torch.tensor(0.3)) - cached(picture(), torch.tensor(0.3))).abs().max() > 0

    @torch.no_grad()
    def test_the_same_input_again_gives_the_same_from_the_cache(self, unet, plain):
        cached = denoiser(unet, conditions(), feature_cache=2)
        first, again = cached(picture(), SIGMA), cached(picture(), SIGMA)
        assert plain(conditions(), SIGMA).error(first) < 1
        assert plain(conditions(), SIGMA).error(again) < 1


@torch.no_grad()
def test_branches_have_the_camera_however_the_work_is_divided():
    tensors = checkpoints.tensors("motionctrl_svd")
    checkpoint = Checkpoint(TensorFile.of_tensors(Path("motionctrl_svd.safetensors"), tensors))
    unet = checkpoint.unet.load(dtype=torch.float32, device="cpu")
    exact, track = deepcopy(unet).double(), named_track("orbit_left", FRAMES)
    given, x = replace(conditions(), camera=track), picture()

    def branches(unet: VideoUNet, given: Conditions, x: Tensor, sigma: Tensor) -> Tensor:
        both = (given, given.unconditional())
        return torch.cat([plain_estimate(unet, branch, x, sigma) for branch in both])

    doubled_track = replace(doubled(given), camera=track.double())
    reference = Reference(
        branches(unet, given, x, SIGMA), branches(exact, doubled_track, x.double(), SIGMA.double())
    )
    without = branches(unet, replace(given, camera=None), x, SIGMA)
    assert (without - reference.plain).abs().max() > 1e-2 * reference.plain.abs().max()
    planner = layerwise.UNetPlanner(unet.params, 2, FRAMES, HEIGHT, WIDTH, torch.float32, x.device)
    names = {CONDITIONAL: Branch(given), UNCONDITIONAL: Branch(given.unconditional())}
    for budget in (None, planner.smallest().peak):
        evaluate = Evaluator(unet, names, torch.float32, budget=budget)
        assert reference.error(torch.cat(evaluate(list(names), x, SIGMA))) <= 1


@torch.no_grad()
def test_golden_family_animate_lcm():
    """The preset samples as its author's pipeline, which was told 6 frames a second and bucket 127."""
    settings = Settings(preset=ANIMATE_LCM, num_frames=FRAMES, width=128, height=64, motion_bucket_id=127)
    plan, named = Plan.of(settings, SVD_XT), golden_family.NAMED
    inputs, shape = golden_family.inputs(), (FRAMES, 4, HEIGHT, WIDTH)
    conditions = plan.conditions(inputs["context"][-1:], inputs["x"][-FRAMES:][:1, 4:])
    run = plan.run(conditions, named.input("family.noise", (1, *shape))[0])
    fresh = iter([named.input(f"family.lcm_noise.{step}", (1, *shape))[0] for step in range(3)])
    denoise = denoiser_of(golden_family.unet(), run, torch.float32)
    x = preconditioning.scale_noise(run.start, run.sigmas[0])
    solve = solvers.find_solver(run.solver, run.churn)
    golden_family.check("animatelcm.sample4", solve(denoise, x, run.sigmas, noise=lambda _: next(fresh)))
