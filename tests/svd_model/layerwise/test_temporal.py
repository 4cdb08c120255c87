"""The 3×1×1 convolution, between zeros and on a ring, against torch's own three-dimensional one."""

import pytest
import torch
from torch.nn import functional

from stillmotion.svd_model.layerwise.temporal import convolve_over_time, normalised_between_neighbours
from stillmotion.svd_model.networks.operations import CastingOperations as operations
from support import decoders


@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 3, 7])
@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)]
)
def test_is_a_convolution_in_three_dimensions(frames, dtype, error, ring):
    layer = decoders.filled(operations.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0)))
    x = torch.randn(frames, 4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mode = "circular" if ring else "constant"
    padded = functional.pad(x.transpose(0, 1)[None], (0, 0, 0, 0, 1, 1), mode)
    expected = functional.conv3d(padded, layer.weight.double(), layer.bias.double())[0].transpose(0, 1)

    def unchanged(band, out):
        return out.copy_(band)

    ours = normalised_between_neighbours(unchanged, x.to(dtype), ring)
    found = convolve_over_time(layer.to(dtype), ours, {})
    assert found.dtype == dtype
    assert (found.double() - expected).abs().max() < error * expected.abs().max()
