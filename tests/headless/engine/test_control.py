"""A ControlNet in a run: equal to plain evaluations, however the work is divided, and where it acts."""

import math
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from stillmotion.clips.conditions import Conditions
from stillmotion.clips.control import Control
from stillmotion.clips.run import Branch
from stillmotion.headless.engine import memory
from stillmotion.headless.engine.control import Controller
from stillmotion.headless.engine.local import Evaluator
from stillmotion.samplers import preconditioning
from stillmotion.svd_model import layerwise
from stillmotion.svd_model.networks.controlnet import WEIGHTINGS, ControlHooks, ControlNet
from stillmotion.svd_model.networks.unet import VideoUNet
from support import tiny
from support.live_memory import MemoryLimit
from support.named_tensors import NamedTensors
from support.rounding import Reference

FRAMES, HEIGHT, WIDTH = 3, 8, 16
SIGMA = torch.tensor(1.5)
NAMES = ("conditional", "unconditional")
SIZES = tiny.SMALL.unet
NAMED = NamedTensors("controller:")


@pytest.fixture(scope="module")
def networks() -> tuple[VideoUNet, ControlNet]:
    return NAMED.fill(VideoUNet(SIZES, device="meta"), "u."), NAMED.fill(
        ControlNet(SIZES, device="meta"), "c."
    )


@pytest.fixture(scope="module")
def exact(networks):
    return tuple(deepcopy(network).double() for network in networks)


def conditions() -> Conditions:
    shapes = {"context": (1, 1, SIZES.context_dim), "concat": (1, 4, HEIGHT, WIDTH), "vector": (1, 768)}
    return Conditions(**{name: NAMED.input(name, shape) for name, shape in shapes.items()})


def picture() -> Tensor:
    return NAMED.input("x", (FRAMES, 4, HEIGHT, WIDTH))


def control(strength=0.7, first=math.inf, last=0.0, weighting="author") -> Control:
    pictures = NAMED.input("control", (FRAMES, 3, 8 * HEIGHT, 8 * WIDTH)).clamp(-1, 1)
    return Control(pictures, strength, weighting, first, last)


def evaluator(networks, chosen: Control | None, sigmas=(), **options) -> Evaluator:
    unet, network = networks
    told = conditions()
    branches = {NAMES[0]: Branch(told), NAMES[1]: Branch(told.unconditional())}
    controller = chosen and Controller(network, chosen, told.vector, torch.float32, sigmas)
    return Evaluator(unet, branches, torch.float32, sigmas=sigmas, controller=controller, **options)


def plainly(networks, told: Conditions, chosen: Control, sigma: Tensor) -> Tensor:
    """The clean estimate of one branch, evaluated alone."""
    unet, network = networks
    dtype = unet.out[2].weight.dtype
    context, concat, vector = (
        tensor.to(dtype).expand(FRAMES, *tensor.shape[1:])
        for tensor in (told.context, told.concat, told.vector)
    )

    def predict(x: Tensor, c_noise: Tensor) -> Tensor:
        steps = c_noise.expand(FRAMES)
        inputs = torch.cat([x, concat], dim=1)
        constants = network.prepare(context, vector, FRAMES)
        shifts = network.shifts(steps, constants)
        residuals = network.residuals(inputs, shifts, constants, network.embed(chosen.pictures.to(dtype)))
        hooks = ControlHooks(residuals, WEIGHTINGS[chosen.weighting](SIZES), chosen.strength)
        return unet(inputs, steps, context, vector, FRAMES, hooks)

    return preconditioning.precondition(predict)(picture().to(dtype), sigma.to(dtype))


def planner(**options) -> layerwise.UNetPlanner:
    size = (FRAMES, HEIGHT, WIDTH)
    return layerwise.UNetPlanner(
        SIZES, 2, *size, torch.float32, torch.device("cpu"), controlled=True, **options
    )


@pytest.fixture(scope="module")
def references(networks, exact):
    """The estimate of each branch, in float32 and float64."""
    told = conditions()
    with torch.no_grad():
        return [
            Reference(*(plainly(each, branch, control(), SIGMA) for each in (networks, exact)))
            for branch in (told, told.unconditional())
        ]


@torch.no_grad()
@pytest.mark.parametrize("sigmas", [(), (SIGMA, torch.tensor(0.1))], ids=["sigma new", "sigma known ahead"])
@pytest.mark.parametrize("plan", ["fastest", "smallest"])
@pytest.mark.parametrize("interval", [1, 2])
def test_equals_each_branch_evaluated_alone(networks, references, sigmas, plan, interval):
    budgets = {"fastest": planner(cached=interval > 1).within(None), "smallest": planner().smallest()}
    budget = budgets[plan].peak + (2**20 if interval > 1 else 0)
    evaluate = evaluator(networks, control(), sigmas, feature_cache=interval, budget=budget)
    for reference, estimate in zip(references, evaluate(NAMES, picture(), SIGMA), strict=True):
        assert reference.error(estimate) < 1


@torch.no_grad()
def test_the_weighting_and_the_strength_count(networks):
    results = [
        evaluator(networks, control(strength, weighting=weighting))(NAMES, picture(), SIGMA)[0]
        for strength, weighting in ((1.0, "author"), (1.0, "once"), (0.5, "once"))
    ]
    assert (results[0] - results[1]).abs().max() > 1e-2
    assert (results[1] - results[2]).abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize(
    "chosen",
    [control(strength=0.0), control(first=1.4), control(last=1.6)],
    ids=["strength 0", "not begun", "ended"],
)
def test_where_it_does_not_act_nothing_changes(networks, chosen):
    without = evaluator(networks, None)(NAMES, picture(), SIGMA)
    assert all(map(torch.equal, evaluator(networks, chosen)(NAMES, picture(), SIGMA), without))


@torch.no_grad()
def test_at_its_first_and_last_level_it_acts(networks):
    without = evaluator(networks, None)(NAMES, picture(), SIGMA)[0]
    for chosen in (control(first=1.5), control(last=1.5)):
        assert (evaluator(networks, chosen)(NAMES, picture(), SIGMA)[0] - without).abs().max() > 1e-2


@torch.no_grad()
def test_the_pictures_are_embedded_once(networks, monkeypatch):
    calls, embed = [], networks[1].embed
    monkeypatch.setattr(networks[1], "embed", lambda pictures: calls.append(len(pictures)) or embed(pictures))
    evaluate = evaluator(networks, control())
    for sigma in (5.0, 1.5, 0.3):
        evaluate(NAMES, picture(), torch.tensor(sigma))
    assert calls == [1] * FRAMES


@torch.no_grad()
def test_an_evaluation_is_done_again_where_memory_runs_out(networks, references, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: None)
    evaluate = evaluator(networks, control())
    with MemoryLimit(planner().within(None).peak * 2 // 3):
        estimates = evaluate(NAMES, picture(), SIGMA)
    for reference, estimate in zip(references, estimates, strict=True):
        assert reference.error(estimate) < 1
