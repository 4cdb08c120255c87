"""Guidance and attention of a run: against the reference's numbers, what is off, and what is refused."""

import pytest
import torch

from stillmotion.clips.mistakes import MistakesError
from stillmotion.clips.plan import Plan
from stillmotion.clips.settings import Settings
from stillmotion.headless.engine import local
from stillmotion.samplers.guidance import CONDITIONAL, SPATIAL, TEMPORAL, UNCONDITIONAL
from stillmotion.svd_model.checkpoint.variants import SVD_XT
from stillmotion.svd_model.networks.hooks import NO_HOOKS
from stillmotion.svd_model.networks.stages import UNetParams
from stillmotion.svd_model.networks.unet import VideoUNet
from support import tiny
from support.golden_motion import check, levels
from support.golden_time import NAMED

FRAMES = 5
CLIP = {"num_frames": FRAMES, "width": 192, "height": 128, "fps": 7, "min_guidance": 1.5, "max_guidance": 3.0}
STG = {"skip_guidance": (2, 0.5), "guidance_rescale": 0.7}


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    return NAMED.fill(VideoUNet(tiny.UNET, device="meta"))


def run_of(**settings):
    pictured = NAMED.input("sample.context", (1, 1, 64)), NAMED.input("sample.concat", (1, 4, 16, 24))
    plan = Plan.of(Settings(**CLIP, steps=3, **settings), SVD_XT)
    noise = NAMED.input("sample.noise", (FRAMES, 4, 16, 24))
    return plan.run(plan.conditions(*pictured), noise)


def sampled(unet, **settings) -> torch.Tensor:
    run = run_of(**settings)
    assert torch.equal(run.sigmas, levels(3).float())
    return local.sample(unet, run, torch.float32, torch.device("cpu"), lambda *_: None)


def test_golden_motion_of_settings(unet):
    """The reference rescales the clip as a whole, which is usual with skip guidance."""
    check("unet.sample.stg", sampled(unet, **STG).double())
    check("unet.sample.stg", sampled(unet, **STG, skip_layers="u0", rescale_over="clip").double())


def test_each_choice_makes_another_clip(unet):
    choices = [
        {},
        STG,
        {**STG, "skip_guidance": (2, 0)},
        {**STG, "skip_guidance": (0, 0.5)},
        {**STG, "skip_layers": ("u0", "m0")},
        {**STG, "rescale_over": "frame"},
        {**STG, "skip_interval": (0, 100)},
        {"guidance_rescale": 0.7},
        {"guidance_rescale": 0.7, "rescale_over": "clip"},
        {"guidance_method": "apg"},
        {"guidance_method": "apg", "apg_parallel": 0.5},
        {"guidance_method": "apg", "apg_limit": 0.5},
        {"guidance_method": "apg", "apg_momentum": -0.5},
        {"temporal_sharpness": 1.3},
        {"temporal_sharpness": 1.3, "skip_guidance": (2, 0.5)},
        {"temporal_positions": 3},
    ]
    clips = [sampled(unet, **chosen) for chosen in choices]
    for number, clip in enumerate(clips):
        assert not any(torch.equal(clip, other) for other in clips[:number]), choices[number]


def test_choices_that_change_nothing_give_equal_bytes(unet):
    plain = sampled(unet)
    off = {"skip_guidance": (0, 0), "guidance_rescale": 0, "temporal_sharpness": 1, "guidance_method": "cfg"}
    assert torch.equal(sampled(unet, **off), plain)
    assert torch.equal(sampled(unet, temporal_positions=FRAMES), plain)
    run = run_of(**off)
    assert {name: branch.hooks for name, branch in run.branches.items()} == {
        CONDITIONAL: NO_HOOKS,
        UNCONDITIONAL: NO_HOOKS,
    }
    assert len(run.terms) == 1 and run.positions is None


def test_apg_with_the_whole_difference_is_plain_guidance(unet):
    assert torch.equal(sampled(unet, guidance_method="apg", apg_parallel=1), sampled(unet))


def test_branches_of_one_network_go_together():
    names = (CONDITIONAL, UNCONDITIONAL, SPATIAL, TEMPORAL)
    for sharpness in (1, 1.3):
        run = run_of(**STG, temporal_sharpness=sharpness)
        assert tuple(run.branches) == names
        assert run.branches_at_once == 2
    assert tuple(run_of(skip_guidance=(1, 0)).branches) == names[:3]
    assert (run_of(**STG).kept_features, run_of(**STG, feature_cache=2).kept_features) == (0, 4)


def test_a_feature_cache_keeps_each_estimates_own_features(unet):
    """Each branch has the estimates that an evaluator of this branch alone gives, cached in phase."""
    run = run_of(**STG)
    levels_of_steps = [(sigma * run.start, sigma) for sigma in run.sigmas[:-1]]
    together = local.Evaluator(unet, run.branches, torch.float32, feature_cache=2)
    found = [together(tuple(run.branches), *step) for step in levels_of_steps]
    for number, (name, branch) in enumerate(run.branches.items()):
        alone = local.Evaluator(unet, {name: branch}, torch.float32, feature_cache=2)
        for estimates, step in zip(found, levels_of_steps, strict=True):
            (expected,) = alone([name], *step)
            assert (estimates[number] - expected).abs().max() <= 1e-5 * expected.abs().max(), name


END = {"end_frame": True}


@pytest.mark.parametrize(
    ("settings", "pictures", "words"),
    [
        ({"apg_limit": 3.0, "apg_momentum": -0.5}, {}, "apg_limit and apg_momentum can't go with cfg"),
        ({"guidance_method": "cfg", "apg_parallel": 0.0}, {}, "apg_parallel can't go with cfg"),
        ({"guidance_method": "stg"}, {}, "guidance_method is 'stg'; accepted are cfg, apg"),
        ({"skip_layers": "u0"}, {}, "skip_layers can't go without skip_guidance"),
        ({"skip_interval": (0, 9), "skip_guidance": (0, 0)}, {}, "skip_interval can't go without"),
        ({"skip_guidance": 2}, {}, "skip_guidance is 2; it must be two numbers, each from -100 to 100"),
        ({"skip_guidance": (1, 2, 3)}, {}, "skip_guidance is (1, 2, 3)"),
        ({"skip_guidance": (1, float("nan"))}, {}, "skip_guidance is (1, nan)"),
        ({"skip_guidance": (1, True)}, {}, "skip_guidance is (1, True)"),
        ({"skip_layers": "u0,u9", "skip_guidance": (1, 1)}, {}, "skip_layers is ('u0', 'u9')"),
        ({"skip_layers": ("u0", "u0"), "skip_guidance": (1, 1)}, {}, "each once"),
        ({"skip_layers": (), "skip_guidance": (1, 1)}, {}, "skip_layers is ()"),
        ({"skip_layers": (("u0",),), "skip_guidance": (1, 1)}, {}, "skip_layers is (('u0',),)"),
        ({"skip_layers": 7, "skip_guidance": (1, 1)}, {}, "skip_layers is 7"),
        ({"rescale_over": "clip"}, {}, "rescale_over can't go without guidance_rescale"),
        ({"guidance_rescale": 1.5}, {}, "guidance_rescale is 1.5; it must be a number from 0 to 1"),
        ({"temporal_sharpness": 0}, {}, "temporal_sharpness is 0; it must be a number from 0.1 to 10"),
        ({"temporal_positions": 1}, {}, "temporal_positions is 1; it must be a whole number from 2"),
        (STG, END, "skip_guidance and guidance_rescale can't go with mpd"),
        ({"guidance_method": "apg", "between": "vibid"}, END, "guidance_method can't go with vibid"),
        ({"guidance_method": "apg", "apg_momentum": -0.5, "between": "trf"}, END, "apg_momentum is -0.5"),
        (
            {"guidance_method": "apg", "apg_momentum": -0.5, "loop": "shift"},
            {},
            "can't go with the loop shift",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(settings, pictures, words):
    with pytest.raises(ValueError) as error:
        Plan.of(Settings(**settings), SVD_XT, **pictures)
    assert not isinstance(error.value, MistakesError) or len(error.value.found) == 1
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("settings", "pictures"),
    [
        ({**STG, "between": "trf"}, END),
        ({"temporal_sharpness": 0.7, "temporal_positions": 25}, END),
        ({**STG, "loop": "shift", "guidance_method": "apg", "apg_limit": 3.0}, {}),
        ({**STG, "num_frames": 60, "guidance_method": "apg", "apg_momentum": -0.5}, {}),
        ({**STG, "feature_cache": 2, "skip_interval": (0, 1000), "guidance_interval": (1, 9)}, {}),
    ],
)
def test_what_goes_together_passes(settings, pictures):
    Plan.of(Settings(**settings), SVD_XT, **pictures)


def test_layers_and_positions_are_those_of_the_network():
    plan = Plan.of(Settings(skip_guidance=(1, 1), skip_layers=("u8", "u5")), SVD_XT)
    plan.check_network(UNetParams())
    small = UNetParams(channel_mult=(1, 2), attention_levels=2)
    with pytest.raises(ValueError, match=r"skip_layers has u8; this UNet's layers .* d0, .*, u5"):
        plan.check_network(small)
    Plan.of(Settings(temporal_positions=25), SVD_XT).check_network(UNetParams())
    with pytest.raises(ValueError, match="temporal_positions is 25, and this UNet has learned"):
        Plan.of(Settings(temporal_positions=25), SVD_XT).check_network(UNetParams(frame_positions=128))
