"""Bands of any number of rows give what torch's own layers give for the whole picture."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from stillmotion.svd_model.layerwise import spatial
from stillmotion.svd_model.operations import CastingOperations as operations
from support import decoders

heights = st.integers(1, 12)
rows = st.integers(1, 13)


def conv(channels=3, out=2, kernel=3, **options):
    layer = operations.Conv2d(channels, out, kernel, **options)
    return decoders.filled(layer)


@settings(max_examples=40, deadline=None)
@given(height=heights, rows=rows, kernel=st.sampled_from([1, 3]))
def test_a_convolution_in_bands(height, rows, kernel):
    layer, x = conv(kernel=kernel, padding=kernel // 2), torch.randn(2, 3, height, 5)
    assert torch.allclose(spatial.convolve(layer, x, rows), layer(x), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(height=heights, rows=rows)
def test_an_enlargement_in_bands(height, rows):
    from stillmotion.svd_model.unet import Upsample

    upsample, x = decoders.filled(Upsample(3, operations)), torch.randn(2, 3, height, 5)
    assert torch.allclose(spatial.enlarge(upsample, x, rows), upsample(x), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 6), rows=rows)
def test_a_reduction_in_bands(height, rows):
    from stillmotion.svd_model.vae import Downsample

    downsample, x = decoders.filled(Downsample(3, operations)), torch.randn(2, 3, 2 * height, 6)
    assert torch.allclose(spatial.halve(downsample, x, rows), downsample(x), atol=1e-5)


@pytest.mark.parametrize("silu", [True, False])
def test_a_normalisation_with_known_moments(silu):
    norm, x = decoders.filled(operations.GroupNorm(2, 8, eps=1e-6)), torch.randn(2, 8, 6, 5) + 3
    expected = norm(x)
    expected = functional.silu(expected) if silu else expected
    assert torch.allclose(spatial.Normaliser.of(norm, x, silu=silu)(x), expected, atol=1e-5)


@pytest.mark.parametrize("block", ["mid.block_1", "up.0.block.0"])
@pytest.mark.parametrize("rows", [1, 5, 100])
def test_a_residual_block_in_bands(block, rows):
    layer = decoders.decoder(temporal=False).decoder.get_submodule(block)
    x = torch.randn(2, layer.norm1.num_channels, 7, 6)
    assert torch.allclose(spatial.residual(layer, x.clone(), rows), layer(x, 1), atol=2e-5)


@pytest.mark.parametrize("scores", [0, 100, 10**6])
def test_attention_a_few_queries_at_a_time(scores):
    layer = decoders.decoder(temporal=False).decoder.mid.attn_1
    x = torch.randn(2, layer.norm.num_channels, 5, 6)
    assert torch.allclose(spatial.attend(layer, x, 2, scores), layer(x), atol=2e-5)


def test_an_enlargement_of_many_frames_and_then_of_few():
    """Few are not folded; what was made for many must not be taken for them."""
    torch.manual_seed(0)
    upsample = Upsample(32, CastingOperations, dtype=None, device="cpu").requires_grad_(False)
    ready = spatial.Convolutions()
    for frames in (9, 1):
        x = torch.randn(frames, 32, 9, 12)
        assert forms.folds(x) == (frames == 9)
        assert torch.allclose(spatial.enlarge(upsample, x, 6, ready), upsample(x), atol=1e-5)
