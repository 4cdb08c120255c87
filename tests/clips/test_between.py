"""Clips between pictures and loops: what is refused, in a sentence each."""

import pytest

from stillmotion.clips.choices_over_time import SHIFT
from stillmotion.clips.mistakes import MistakesError
from stillmotion.clips.plan import Plan
from stillmotion.clips.presets import ANIMATE_LCM, DRAFT, FAST, QUALITY
from stillmotion.clips.settings import Settings
from stillmotion.svd_model.checkpoint.variants import MOTIONCTRL_SVD, SV3D_P, SV3D_U, SVD_XT

END = {"end_frame": True}
EACH = [({}, END), ({}, {"keyframes": [9]}), ({"loop": SHIFT}, {})]


def refusal(settings: dict, keyframes=(), end_frame=False, variant=SVD_XT) -> str:
    with pytest.raises(ValueError) as error:
        Plan.of(Settings(**settings), variant, keyframes, end_frame)
    assert not isinstance(error.value, MistakesError) or len(error.value.found) == 1
    return str(error.value)


@pytest.mark.parametrize(
    ("settings", "pictures", "words"),
    [
        ({}, {"keyframes": [0]}, "frame 0 is the first picture's"),
        ({}, {"keyframes": [-3]}, "from 1 to 1023"),
        ({}, {"keyframes": [1024]}, "from 1 to 1023"),
        ({}, {"keyframes": [10**6]}, "from 1 to 1023"),
        ({}, {"keyframes": [2.5]}, "whole number"),
        ({}, {"keyframes": [True]}, "whole number"),
        ({}, {"keyframes": ["7"]}, "whole number"),
        ({}, {"keyframes": [1]}, "frames 0 and 1, with no frame between"),
        ({}, {"keyframes": [8, 7]}, "frames 7 and 8, with no frame between"),
        ({"num_frames": 9}, {"keyframes": [5]}, "ends at its keyframe 5"),
        ({"num_frames": 14}, {"keyframes": [13], **END}, "end frame is frame 13 of 14"),
        ({"num_frames": 14}, {"keyframes": [30], **END}, "end frame is frame 13 of 14"),
        ({"num_frames": 2}, END, "frames 0 and 1, with no frame between; give keyframes other frames, or"),
        ({"num_frames": 1}, END, "frames 0 and 0"),
        ({"num_frames": 0}, END, "num_frames is 0"),
        ({"num_frames": 10**6}, END, "num_frames is 1000000"),
        ({"num_frames": "all"}, END, "num_frames is 'all'"),
        ({"num_frames": "all", "loop": SHIFT}, {}, "num_frames is 'all'"),
        ({"loop": "pinned"}, END, "loop is pinned"),
        ({"loop": SHIFT}, {"keyframes": [9]}, "loop is shift"),
        ({"between": "trf"}, {}, "the clip has one picture"),
        ({"between": "trf", "loop": SHIFT}, {}, "ends on no picture"),
        ({"sampler": "heun"}, END, "mpd has steps of its own"),
        ({"sampler": "dpmpp_2m", "between": "vibid"}, END, "vibid has steps of its own"),
        ({"sampler": "dpmpp_2m", "loop": "pinned"}, {}, "mpd has steps of its own"),
        ({"churn": 2.0}, END, "churn is 2"),
        ({"guidance_interval": (1, 9)}, END, "guidance_interval can't go with mpd"),
        ({"contrast": 1.2}, END, "contrast is 1.2"),
        ({"sampler": "lcm"}, END, "the sampler lcm can't go with an end frame"),
        ({"sampler": "lcm", "between": "trf"}, END, "the sampler lcm"),
        ({"preset": ANIMATE_LCM}, END, "the sampler lcm"),
        ({"preset": ANIMATE_LCM, "loop": SHIFT}, {}, "the sampler lcm can't go with the loop shift"),
        ({"feature_cache": 3, "loop": SHIFT}, {}, "feature_cache"),
        ({"num_frames": 30, "loop": SHIFT}, {}, "up to 25, or a multiple of 25 or of 14"),
        ({"num_frames": 1, "loop": SHIFT}, {}, "a loop needs 2"),
        ({"num_frames": 1, "loop": "pinned"}, {}, "a loop needs 2"),
        ({"guidance": (1.0, 2.0), "num_frames": 2, "loop": "pinned"}, {}, "runs have 3 frames"),
        ({"guidance": (1.0,) * 50, "num_frames": 50, "loop": SHIFT}, {}, "runs have 25 frames"),
        ({"guidance": (1.0,) * 21}, {"keyframes": [10, 20]}, "runs have 11, 11 frames"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, pictures, words):
    assert words in refusal(settings, **pictures)


@pytest.mark.parametrize("pictures", [END, {"keyframes": [9]}, {"loop": "pinned"}, {"loop": SHIFT}])
@pytest.mark.parametrize("long", [{"long": "chain"}, {"long": "windows"}, {"overlap": 4}, {"match": 0.5}])
def test_ways_to_a_long_clip_are_refused(pictures, long):
    settings = {name: value for name, value in pictures.items() if name == "loop"}
    keyframes = {name: value for name, value in pictures.items() if name != "loop"}
    assert next(iter(long)) in refusal(settings | long, **keyframes)


@pytest.mark.parametrize("variant", [SV3D_U, SV3D_P, MOTIONCTRL_SVD])
@pytest.mark.parametrize(("settings", "pictures"), EACH)
def test_other_checkpoints_are_refused(variant, settings, pictures):
    assert f"this checkpoint ({variant.name}) takes none" in refusal(settings, **pictures, variant=variant)


@pytest.mark.parametrize(("settings", "pictures"), EACH)
def test_a_controlnet_is_refused(settings, pictures):
    plan = Plan.of(Settings(**settings), SVD_XT, **pictures)
    with pytest.raises(ValueError, match="ControlNet's pictures can't go with"):
        plan.control_pictures([])


@pytest.mark.parametrize("between", [{}, {"between": "trf"}])
def test_a_preset_has_its_own_steps_between_pictures_too(between):
    for name, steps in ((DRAFT, 5), (FAST, 10), (QUALITY, 30)):
        assert Plan.of(Settings(preset=name, **between), SVD_XT, [8]).settings.steps == steps
    assert Plan.of(Settings(preset=DRAFT, steps=7, **between), SVD_XT, [8]).settings.steps == 7


def test_keyframes_may_come_in_any_order_and_beside_an_end_frame():
    assert Plan.of(Settings(), SVD_XT, [20, 8, 14]).keyframes == (8, 14, 20)
    plan = Plan.of(Settings(num_frames=21), SVD_XT, [8], end_frame=True)
    assert plan.keyframes == (8, 20) and plan.settings.num_frames == 21
    assert Plan.of(Settings(), SVD_XT, end_frame=True).keyframes == (24,)
    assert Plan.of(Settings(num_frames=9), SVD_XT, [8]).keyframes == (8,)


def test_time_reversal_fusion_goes_with_solvers_and_intervals_of_guidance():
    chosen = {"between": "trf", "sampler": "heun", "churn": 3.0, "guidance_interval": (1.0, 9.0)}
    settings = Plan.of(Settings(**chosen), SVD_XT, end_frame=True).settings
    assert all(getattr(settings, name) == value for name, value in chosen.items())
