"""Numbers and camera angles as the UNet is told them."""

import math

import pytest
import torch

from stillmotion.svd_model.networks import conditioning


def sinusoid(value, dim):
    angles = [value * 10000 ** (-i / (dim // 2)) for i in range(dim // 2)]
    return torch.tensor([math.cos(a) for a in angles] + [math.sin(a) for a in angles])


def test_svd_vector_is_three_embeddings_in_order():
    vector = conditioning.svd_vector(5, 127, 0.02)
    expected = torch.cat([sinusoid(value, 256) for value in (5, 127, 0.02)])
    assert torch.allclose(vector, expected[None], atol=1e-4)


def test_sv3d_u_vector_is_the_noise_augmentation_alone():
    assert torch.allclose(conditioning.sv3d_u_vector(1e-5), sinusoid(1e-5, 256)[None])


@pytest.mark.parametrize("num_frames", [1, 4, 21])
def test_azimuths_go_once_around_and_end_at_the_input(num_frames):
    azimuths = conditioning.orbit_azimuths(num_frames)
    step = 360 / num_frames
    assert azimuths == pytest.approx([step * (frame + 1) for frame in range(num_frames - 1)] + [0])


def test_orbit_vectors_are_the_reference_angles_of_each_frame():
    """Polar angle from straight above; azimuths from that of the last frame; all in radians."""
    vectors = conditioning.orbit_vectors(1e-5, [10.0, -20.0, 0.0], [100.0, 30.0, 40.0])
    polars = [math.radians(80), math.radians(110), math.radians(90)]
    azimuths = [math.radians(60), math.radians(350), 0.0]
    expected = torch.stack(
        [
            torch.cat([sinusoid(1e-5, 256), sinusoid(polar, 512), sinusoid(azimuth, 512)])
            for polar, azimuth in zip(polars, azimuths, strict=True)
        ]
    )
    assert torch.allclose(vectors, expected, atol=1e-5)
