"""Numbers and camera angles as the UNet is told them."""

import math

import pytest
import torch

from stillmotion.clips.conditions import Conditions, orbit_azimuths, vector
from stillmotion.svd_model.checkpoint.variants import SV3D_P, SV3D_U, SVD_XT, SVD_XT_IMAGE_DECODER


def sinusoid(value, dim):
    angles = [value * 10000 ** (-i / (dim // 2)) for i in range(dim // 2)]
    return torch.tensor([math.cos(a) for a in angles] + [math.sin(a) for a in angles])


@pytest.mark.parametrize("variant", [SVD_XT, SVD_XT_IMAGE_DECODER], ids=lambda variant: variant.name)
def test_svd_is_told_fps_less_one_then_motion_then_noise(variant):
    found = vector(variant, 14, 0.02, fps=6, motion_bucket_id=127)
    expected = torch.cat([sinusoid(value, 256) for value in (5, 127, 0.02)])
    assert torch.allclose(found, expected[None], atol=1e-4)


def test_sv3d_u_is_told_the_noise_augmentation_alone():
    assert torch.allclose(vector(SV3D_U, 21, 1e-5), sinusoid(1e-5, 256)[None])


def test_what_nobody_says_is_six_frames_a_second_motion_127_and_ten_degrees():
    assert torch.equal(vector(SVD_XT, 2, 0.02), vector(SVD_XT, 2, 0.02, fps=6, motion_bucket_id=127))
    chosen = {"elevation": [10.0] * 4, "azimuths": [90, 180, 270, 0]}
    assert torch.equal(vector(SV3D_P, 4, 1e-5), vector(SV3D_P, 4, 1e-5, **chosen))


@pytest.mark.parametrize("num_frames", [1, 4, 21])
def test_azimuths_go_once_around_and_end_at_the_input(num_frames):
    azimuths = orbit_azimuths(num_frames)
    step = 360 / num_frames
    assert azimuths == pytest.approx([step * (frame + 1) for frame in range(num_frames - 1)] + [0])


def test_sv3d_p_is_told_the_reference_angles_of_each_frame():
    """Polar angle from straight above; azimuths from the last frame's; all in radians."""
    found = vector(SV3D_P, 3, 1e-5, elevation=[10.0, -20.0, 0.0], azimuths=[100.0, 30.0, 40.0])
    polars = [math.radians(80), math.radians(110), math.radians(90)]
    azimuths = [math.radians(60), math.radians(350), 0.0]
    expected = torch.stack(
        [
            torch.cat([sinusoid(1e-5, 256), sinusoid(polar, 512), sinusoid(azimuth, 512)])
            for polar, azimuth in zip(polars, azimuths, strict=True)
        ]
    )
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["elevation", "azimuths"])
def test_another_number_of_angles_than_frames_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} has 2 angles; give one for each of the 3 frames"):
        vector(SV3D_P, 3, 1e-5, **{name: [1.0, 2.0]})


def test_unconditional_conditions_are_zeros_with_the_same_vector():
    conditions = Conditions(torch.ones(1, 1, 8), torch.ones(1, 4, 2, 2), torch.ones(1, 6))
    without = conditions.unconditional()
    assert not without.context.any() and not without.concat.any()
    assert without.context.shape == (1, 1, 8) and without.concat.shape == (1, 4, 2, 2)
    assert without.vector is conditions.vector
