"""The picture's latent without its details at high noise levels: against golden numbers, and in a run."""

import re
from dataclasses import replace

import pytest
import torch

from stillmotion.clips.low_pass import USUAL_UNTIL, LowPass, low_passed
from stillmotion.clips.plan import Plan
from stillmotion.clips.settings import Settings
from stillmotion.headless.engine.local import Evaluator
from stillmotion.svd_model.checkpoint.variants import SVD_XT
from stillmotion.svd_model.networks.unet import VideoUNet
from support import tiny
from support.golden_motion import check, draw
from support.golden_time import NAMED

FRAMES = 5
ABOVE, AT = torch.tensor(8.0), torch.tensor(5.0)


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    return NAMED.fill(VideoUNet(tiny.UNET, device="meta"))


def run_of(**settings):
    plan = Plan.of(Settings(num_frames=FRAMES, width=192, height=128, steps=3, **settings), SVD_XT)
    pictured = NAMED.input("sample.context", (1, 1, 64)), NAMED.input("sample.concat", (1, 4, 16, 24))
    return plan.run(plan.conditions(*pictured), NAMED.input("sample.noise", (FRAMES, 4, 16, 24)))


@torch.no_grad()
def estimates(unet, run, sigma, low_pass: LowPass | None = None, **options) -> torch.Tensor:
    evaluate = Evaluator(unet, run.branches, torch.float32, low_pass=low_pass, **options)
    return torch.stack(evaluate(tuple(run.branches), sigma * run.start, sigma))


def blurred(run, share: float):
    """The run whose pictures are low-passed at all levels; branches with one picture still have one."""
    pictures = {id(branch.conditions): branch.conditions for branch in run.branches.values()}
    pictures = {key: replace(of, concat=low_passed(of.concat, share)) for key, of in pictures.items()}
    branches = {
        name: replace(branch, conditions=pictures[id(branch.conditions)])
        for name, branch in run.branches.items()
    }
    return replace(run, branches=branches)


def test_golden_motion_low_pass():
    check("low_pass.0.4", low_passed(draw("motion.condition", 1, 4, 8, 12), 0.4))


@pytest.mark.parametrize("share", [0.05, 0.4, 1.0])
def test_evenness_is_kept_to_the_bit(share):
    """Zeros, the unconditional branch's picture, stay zeros."""
    zeros = torch.zeros(2, 4, 9, 16)
    assert torch.equal(low_passed(zeros, share), zeros)


def test_a_share_of_one_hides_nothing():
    latent = draw("low pass", 1, 4, 9, 16).float()
    assert torch.equal(low_passed(latent, 1.0), latent)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_type_is_kept_and_its_numbers_are_rounded_once(dtype):
    latent = draw("low pass", 1, 4, 9, 16).to(dtype)
    found = low_passed(latent, 0.4)
    assert found.dtype == dtype
    assert torch.equal(found, low_passed(latent if dtype == torch.float64 else latent.float(), 0.4).to(dtype))


@pytest.mark.parametrize("options", [{}, {"feature_cache": 2}], ids=["plain", "feature cache"])
def test_above_its_level_all_branches_see_the_blurred_picture_and_from_it_on_the_whole_one(unet, options):
    run, low_pass = run_of(skip_guidance=(1, 1)), LowPass(0.4, 5.0)
    above = estimates(unet, run, ABOVE, low_pass, **options)
    assert torch.equal(above, estimates(unet, blurred(run, 0.4), ABOVE, **options))
    assert not torch.equal(above, estimates(unet, run, ABOVE, **options))
    assert torch.equal(estimates(unet, run, AT, low_pass, **options), estimates(unet, run, AT, **options))


def test_the_settings_make_it():
    assert run_of().low_pass is None
    assert run_of(low_pass=0.4).low_pass == LowPass(0.4, USUAL_UNTIL)
    assert run_of(low_pass=0.25, low_pass_until=7).low_pass == LowPass(0.25, 7)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"low_pass": 0}, "low_pass is 0; it must be a number from 0.05 to 1"),
        ({"low_pass": float("nan")}, "low_pass is nan"),
        ({"low_pass": 0.4, "low_pass_until": 0}, "low_pass_until is 0; it must be a number from"),
        ({"low_pass_until": 9}, "low_pass_until can't go without low_pass; give its share, or leave it out"),
    ],
)
def test_impossible_choices_are_refused(chosen, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        run_of(**chosen)
