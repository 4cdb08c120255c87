"""The 3×1×1 convolution against torch's own three-dimensional one."""

import pytest
import torch
from torch.nn import functional

from stillmotion.svd_model.layerwise.temporal import convolve_over_time
from stillmotion.svd_model.networks.operations import CastingOperations as operations
from support import decoders


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)]
)
def test_is_a_convolution_in_three_dimensions(frames, dtype, error):
    layer = decoders.filled(operations.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0)))
    x = torch.randn(frames, 4, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = functional.conv3d(
        x.transpose(0, 1)[None], layer.weight.double(), layer.bias.double(), padding=(1, 0, 0)
    )[0].transpose(0, 1)
    found = convolve_over_time(layer.to(dtype), x.to(dtype), {})
    assert found.dtype == dtype
    assert (found.double() - expected).abs().max() < error * expected.abs().max()
