"""Presets: the defaults of the reference, and which of them a checkpoint gets."""

from dataclasses import astuple, replace

import pytest

from stillmotion.clips.presets import ANIMATE_LCM, NAMED, SV3D, SVD, SVD_XT, find_preset
from stillmotion.clips.settings import Settings
from stillmotion.samplers.schedules import SCHEDULES
from stillmotion.svd_model.checkpoint import variants

XT, IMAGE_DECODER = variants.SVD_XT, variants.SVD_XT_IMAGE_DECODER


@pytest.mark.parametrize(
    ("variant", "numbers"),
    [
        # Frames, size, steps, guidance and noise aug of the reference's sampling script and configs.
        (XT, (25, 1024, 576, 30, "linear", 1.5, 3.0, 0.02)),
        (IMAGE_DECODER, (25, 1024, 576, 30, "linear", 1.5, 3.0, 0.02)),
        (variants.SV3D_U, (21, 576, 576, 50, "triangle", 1.0, 2.5, 1e-5)),
        (variants.SV3D_P, (21, 576, 576, 50, "triangle", 1.0, 2.5, 1e-5)),
    ],
)
def test_each_variant_has_the_defaults_of_the_reference(variant, numbers):
    assert astuple(find_preset(variant)) == (*numbers, "karras", "euler", 6, 127, None)


@pytest.mark.parametrize("variant", [XT, IMAGE_DECODER])
def test_14_frames_are_sampled_as_svd(variant):
    preset = find_preset(variant, 14)
    assert (preset.steps, preset.guidance, preset.min_guidance, preset.max_guidance) == (25, "linear", 1, 2.5)
    assert preset == SVD


@pytest.mark.parametrize(
    ("variant", "frames", "preset"),
    [(XT, 25, SVD_XT), (XT, 13, SVD_XT), (variants.SV3D_U, 14, SV3D), (variants.SV3D_P, 21, SV3D)],
)
def test_other_counts_change_nothing(variant, frames, preset):
    assert find_preset(variant, frames) == replace(preset, num_frames=frames)


def test_what_a_file_says_goes_before_the_preset():
    small = replace(XT, num_frames=14, width=128, height=192)
    assert find_preset(small) == replace(SVD, width=128, height=192)
    assert find_preset(small, 25) == replace(SVD_XT, width=128, height=192)


def test_lcm_brings_what_animate_lcm_is_shown_with():
    preset = find_preset(XT, sampler="lcm")
    assert (preset.steps, preset.min_guidance, preset.max_guidance) == (4, 1.0, 1.2)
    assert preset.steps == SCHEDULES[preset.schedule].steps
    assert replace(preset, steps=30, min_guidance=1.5, max_guidance=3.0, schedule="karras") == SVD_XT


def exvideo(positions: int = 128) -> variants.Variant:
    return variants.find_variant(768, frame_wise_decoder=False, frame_positions=positions)


def test_exvideo_has_its_authors_numbers():
    """Of its example script; the noise on the picture and the motion bucket are svd_xt's."""
    settings = Settings().complete(exvideo())
    assert (settings.num_frames, settings.width, settings.height, settings.fps) == (128, 512, 512, 30)
    assert (settings.steps, settings.sampler, settings.schedule) == (50, "euler", "karras")
    assert settings.guidance_scales().tolist() == [2.0] * 128
    assert (settings.motion_bucket_id, settings.noise_aug, settings.contrast) == (127, 0.02, 1.2)


@pytest.mark.parametrize("frames", [1, 129])
def test_exvideo_takes_as_many_frames_as_it_has_positions(frames):
    with pytest.raises(
        ValueError, match=f"num_frames is {frames}; .*exvideo.* 128 frames, and takes 2 to 128"
    ):
        Settings(num_frames=frames, long="whole").complete(exvideo())
    assert Settings(num_frames=2).complete(exvideo()).fps == 30


def test_animate_lcm_by_its_name_has_the_defaults_of_its_authors_app():
    settings = Settings(preset=ANIMATE_LCM).complete(XT)
    assert (settings.sampler, settings.schedule, settings.steps) == ("lcm", "animate_lcm", 4)
    assert (settings.guidance, settings.min_guidance, settings.max_guidance) == ("linear", 1.0, 1.2)
    assert (settings.num_frames, settings.width, settings.height) == (25, 1024, 576)
    assert (settings.motion_bucket_id, settings.fps, settings.noise_aug) == (80, 7, 0.02)
    assert settings.as_metadata()["preset"] == ANIMATE_LCM
    assert settings.complete(XT) == settings


CHOICES = {
    "num_frames": 14,
    "noise_aug": 0.1,
    "guidance": "constant",
    "sampler": "euler",
    "steps": 8,
    "min_guidance": 1.1,
    "max_guidance": 2.0,
    "schedule": "karras",
    "fps": 6.0,
    "motion_bucket_id": 127,
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_of_the_users_goes_before_a_named_preset(name):
    settings = Settings(preset=ANIMATE_LCM, **{name: CHOICES[name]}).complete(XT)
    values = NAMED[ANIMATE_LCM] | {name: CHOICES[name]}
    assert {key: getattr(settings, key) for key in values} == values


def test_a_named_preset_is_for_svd_alone():
    with pytest.raises(ValueError, match=r"preset goes with SVD; this checkpoint \(sv3d_u\) takes none"):
        Settings(preset=ANIMATE_LCM).complete(variants.SV3D_U)
    with pytest.raises(
        ValueError, match=r"preset is 'AnimateLCM'; accepted are quality, .*, AnimateLCM \(4 steps\)"
    ):
        Settings(preset="AnimateLCM").complete(XT)


@pytest.mark.parametrize(
    ("name", "schedule", "steps"),
    [
        ("quality", "karras", 30),
        ("fast (Align Your Steps)", "align_your_steps", 10),
        ("draft", "align_your_steps", 5),
    ],
)
def test_a_name_of_svd_xts_own_changes_steps_and_levels_alone(name, schedule, steps):
    settings = Settings(preset=name).complete(XT)
    assert (settings.schedule, settings.steps, settings.sampler) == (schedule, steps, "euler")
    changes = {"schedule": schedule, "steps": steps, "preset": name}
    assert settings == replace(Settings().complete(XT), **changes)
    assert Settings(preset=name, steps=8).complete(XT).steps == 8
