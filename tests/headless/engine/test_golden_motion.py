"""Skip guidance through the engine against numbers of its authors' pipeline on the tiny UNet."""

import math

import pytest
import torch

from stillmotion.clips.conditions import Conditions, vector
from stillmotion.clips.run import Branch
from stillmotion.headless.engine.local import Evaluator
from stillmotion.samplers.guidance import (
    CONDITIONAL,
    SPATIAL,
    TEMPORAL,
    UNCONDITIONAL,
    cfg,
    guided,
    linear,
    rescaled,
    skip,
)
from stillmotion.samplers.solvers import euler
from stillmotion.svd_model.checkpoint.variants import SVD_XT
from stillmotion.svd_model.networks.steering import Skipped
from stillmotion.svd_model.networks.unet import VideoUNet
from support import golden_time, tiny
from support.golden_motion import check, levels
from support.golden_time import NAMED

FRAMES = 5


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    return NAMED.fill(VideoUNet(tiny.UNET, device="meta"))


def branches(*layers: str) -> dict[str, Branch]:
    context, concat = NAMED.input("sample.context", (1, 1, 64)), NAMED.input("sample.concat", (1, 4, 16, 24))
    pictured = Conditions(context, concat, vector(SVD_XT, 1, 0.02, fps=7))
    return {
        CONDITIONAL: Branch(pictured),
        UNCONDITIONAL: Branch(pictured.unconditional()),
        SPATIAL: Branch(pictured, Skipped("space", frozenset(layers))),
        TEMPORAL: Branch(pictured, Skipped("time", frozenset(layers))),
    }


def sampled(unet, spatial: float, temporal: float, share: float) -> torch.Tensor:
    sigmas = levels(3).float()
    evaluate = Evaluator(unet, branches("u0"), torch.float32, sigmas=sigmas)
    terms = [cfg(linear(FRAMES, 1.5, 3)), *skip(FRAMES, spatial, temporal)]
    terms.append(rescaled(FRAMES, share, whole_clip=True))
    x = NAMED.input("sample.noise", (FRAMES, 4, 16, 24)) * (sigmas[0] ** 2 + 1).sqrt()
    return euler(guided(evaluate, terms), x, sigmas, noise=None)


def test_golden_motion_sample(unet):
    check("unet.sample.stg", sampled(unet, 2, 0.5, 0.7).double())


def test_golden_control_sample(unet):
    golden_time.check("control.stg.s1_t1", sampled(unet, 1, 1, 0).double())


@pytest.mark.parametrize("branch, axis", [(SPATIAL, "spatial"), (TEMPORAL, "temporal")])
def test_golden_control_network(unet, branch, axis):
    """The network's output behind an estimate, D = c_skip·x + c_out·F."""
    evaluate = Evaluator(unet, branches("m0", "u4", "u8"), torch.float32)
    sigma = torch.tensor(700.0)
    root = math.sqrt(700.0**2 + 1)
    scaled = NAMED.input("sample.noise", (FRAMES, 4, 16, 24))
    (estimate,) = evaluate([branch], root * scaled, sigma)
    output = (estimate - root * scaled / root**2) * -root / 700
    golden_time.check(f"control.stg.layers_m0_u4_u8.F.{axis}", output.double())
