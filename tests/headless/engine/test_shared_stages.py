"""Branches of skip guidance: equal to whole evaluations, and each stage that is equal runs once."""

from collections import Counter
from copy import deepcopy

import pytest
import torch

from stillmotion.clips.conditions import Conditions
from stillmotion.clips.run import Branch
from stillmotion.headless.engine.local import Evaluator
from stillmotion.samplers.guidance import CONDITIONAL, SPATIAL, TEMPORAL, UNCONDITIONAL
from stillmotion.svd_model import layerwise
from stillmotion.svd_model.networks.hooks import NO_HOOKS
from stillmotion.svd_model.networks.steering import Sharpened, Skipped
from stillmotion.svd_model.networks.unet import VideoUNet
from support import tiny
from support.golden_time import NAMED
from support.live_memory import LiveMemory, MemoryLimit
from support.rounding import Reference

FRAMES, HEIGHT, WIDTH = 3, 8, 16
SIGMA = torch.tensor(1.5)
LAYER = "u0"
SIZES = tiny.UNET
FORK = next(number for number, place in enumerate(SIZES.places()) if place.name == LAYER)
STEERED = {axis: Skipped(axis, frozenset([LAYER])) for axis in ("space", "time")}
GIVEN = Conditions(
    NAMED.input("shared.context", (1, 1, SIZES.context_dim)),
    NAMED.input("shared.concat", (1, 4, HEIGHT, WIDTH)),
    NAMED.input("shared.vector", (1, SIZES.vector_dim)),
)
X = NAMED.input("shared.x", (FRAMES, 4, HEIGHT, WIDTH))
EACH = (CONDITIONAL, UNCONDITIONAL, SPATIAL, TEMPORAL)


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    return NAMED.fill(VideoUNet(SIZES, device="meta"))


@pytest.fixture(scope="module")
def exact(unet) -> VideoUNet:
    return deepcopy(unet).double()


def branches(conditions: Conditions = GIVEN) -> dict[str, Branch]:
    return {
        CONDITIONAL: Branch(conditions),
        UNCONDITIONAL: Branch(conditions.unconditional()),
        SPATIAL: Branch(conditions, STEERED["space"]),
        TEMPORAL: Branch(conditions, STEERED["time"]),
    }


@pytest.fixture(scope="module")
def reference(unet, exact):
    """Computes each branch by an Evaluator of its own, which has nothing to share, in float32 and float64."""

    def evaluated(network: VideoUNet, conditions: Conditions, x: torch.Tensor, **options) -> torch.Tensor:
        alone = (
            Evaluator(network, {name: branch}, x.dtype, **options)((name,), x, SIGMA.to(x.dtype))
            for name, branch in branches(conditions).items()
        )
        return torch.stack([estimate for (estimate,) in alone])

    doubled = Conditions(GIVEN.context.double(), GIVEN.concat.double(), GIVEN.vector.double())
    return lambda **options: Reference(
        evaluated(unet, GIVEN, X, **options), evaluated(exact, doubled, X.double(), **options)
    )


def planner(count: int, early: int | None = FORK) -> layerwise.UNetPlanner:
    size = (FRAMES, HEIGHT, WIDTH, torch.float32, torch.device("cpu"))
    return layerwise.UNetPlanner(SIZES, count, *size, early=early)


def calls_of_stages(unet: VideoUNet, work) -> list[int]:
    """How many videos go through each stage."""
    counts = Counter()
    handles = [
        stage.register_forward_pre_hook(
            lambda _, inputs, number=number: counts.update({number: len(inputs[0][0]) // FRAMES})
        )
        for number, stage in enumerate(unet._stages())
    ]
    try:
        work()
    finally:
        for handle in handles:
            handle.remove()
    return [counts[number] for number in range(len(unet.places))]


@torch.no_grad()
@pytest.mark.parametrize("hooks", [NO_HOOKS, Sharpened(1.3)], ids=["plain", "sharpened"])
@pytest.mark.parametrize("together", [True, False], ids=["in a batch", "one after the other"])
def test_each_branch_is_its_whole_evaluation(unet, reference, together, hooks):
    evaluate = Evaluator(
        unet,
        branches(),
        torch.float32,
        budget=planner(2).within(None).peak if together else planner(1).within(None).peak,
        hooks=hooks,
    )
    alone = reference(hooks=hooks)
    found = torch.stack(evaluate(EACH, X, SIGMA))
    if together:  # a batch has kernels of its own, and the conditional features are of a batch
        assert alone.error(found) <= 1
    else:
        assert torch.equal(found, alone.plain)
    assert evaluate._early is None


@torch.no_grad()
@pytest.mark.parametrize(
    "names, early, late",
    [
        (EACH[:2], 2, 2),
        ((CONDITIONAL, UNCONDITIONAL, SPATIAL), 2, 3),
        (EACH, 2, 4),
        ((CONDITIONAL, SPATIAL, TEMPORAL), 1, 3),
    ],
    ids=["guidance", "space", "space and time", "no guidance"],
)
def test_what_skip_guidance_costs(unet, names, early, late):
    """Passes of each stage: more only from the first skipped layer on, and of the first convolution."""
    evaluate = Evaluator(unet, branches(), torch.float32)
    counts = calls_of_stages(unet, lambda: evaluate(names, X, SIGMA))
    assert counts == [late, *[early] * (FORK - 1), *[late] * (len(counts) - FORK)]


@torch.no_grad()
def test_a_budget_without_room_for_the_features_evaluates_all_alone(unet, reference):
    """It is the smallest that plain guidance works in; what is kept is never more than planned."""
    least = planner(2, None).smallest().peak
    evaluate = Evaluator(unet, branches(), torch.float32, budget=least)
    counts = calls_of_stages(unet, lambda: evaluate(EACH, X, SIGMA))
    assert min(counts) == 4
    assert reference().error(torch.stack(evaluate(EACH, X, SIGMA))) <= 1


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2])
def test_the_plan_counts_the_features(unet, count):
    budget = planner(count).smallest().peak if count == 1 else planner(count).within(None).peak
    evaluate = Evaluator(unet, branches(), torch.float32, budget=budget)
    evaluate(EACH, X, SIGMA)  # constants
    with LiveMemory() as memory:
        counts = calls_of_stages(unet, lambda: evaluate(EACH, X, SIGMA))
    assert counts[1] == 2
    around = 6 * X.numel() * X.itemsize  # x, scaled and with the picture, and four estimates
    assert memory.peak <= budget + around


@torch.no_grad()
def test_where_memory_runs_out_it_is_done_again(unet, reference):
    evaluate = Evaluator(unet, branches(), torch.float32, budget=2**40)
    with MemoryLimit(planner(2).within(None).peak * 2 // 3):
        found = evaluate(EACH, X, SIGMA)
    assert reference().error(torch.stack(found)) <= 1


@torch.no_grad()
def test_a_feature_cache_shares_in_the_evaluations_that_compute_all(unet, reference):
    evaluate = Evaluator(unet, branches(), torch.float32, feature_cache=2)
    assert reference().error(torch.stack(evaluate(EACH, X, SIGMA))) <= 1
    again = []
    counts = calls_of_stages(unet, lambda: again.append(torch.stack(evaluate(EACH, X, SIGMA))))
    assert counts == [4, *[0] * (len(counts) - 2), 4]
    assert reference().error(again[0]) <= 1  # the features were of an equal x


@torch.no_grad()
def test_branches_of_other_conditions_share_nothing(unet):
    other = Conditions(GIVEN.context, GIVEN.concat, GIVEN.vector)
    changed = {**branches(), SPATIAL: Branch(other, STEERED["space"])}
    evaluate = Evaluator(unet, changed, torch.float32)
    counts = calls_of_stages(unet, lambda: evaluate((CONDITIONAL, SPATIAL), X, SIGMA))
    assert min(counts) == 2
