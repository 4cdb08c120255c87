"""Presets: the defaults of the reference, and which of them a checkpoint gets."""

from dataclasses import astuple, replace

import pytest

from stillmotion.clips.presets import SV3D, SVD, SVD_XT, find_preset
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
    assert astuple(find_preset(variant)) == (*numbers, "karras")


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
