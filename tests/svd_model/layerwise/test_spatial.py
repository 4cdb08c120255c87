"""Bands of any number of rows give what torch's own layers give for the whole picture."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stillmotion.svd_model.layerwise import spatial
from stillmotion.svd_model.layerwise.moments import moments
from stillmotion.svd_model.networks import kernels
from stillmotion.svd_model.networks.operations import CastingOperations as operations
from stillmotion.svd_model.networks.resampling import Upsample
from stillmotion.svd_model.networks.vae import Downsample
from support import decoders
from support.rounding import Reference

heights = st.integers(1, 12)
rows = st.integers(1, 13)


def equal(found, layer, *inputs):
    """Whether that is the layer's result, but for rounding as large as the layer's own."""
    exact = copy.deepcopy(layer).double()
    return Reference.of(lambda network, *inputs: network(*inputs), layer, exact, *inputs).error(found) <= 1


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def conv(channels=3, out=2, kernel=3, **options):
    layer = operations.Conv2d(channels, out, kernel, **options)
    return decoders.filled(layer)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(height=heights, rows=rows, kernel=st.sampled_from([1, 3]))
def test_a_convolution_in_bands(height, rows, kernel):
    layer, x = conv(kernel=kernel, padding=kernel // 2), draw(2, 3, height, 5)
    assert equal(spatial.convolve(layer, x, rows, {}), layer, x)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(height=heights, rows=rows)
def test_an_enlargement_in_bands(height, rows):
    upsample, x = decoders.filled(Upsample(3, operations)), draw(2, 3, height, 5)
    assert equal(spatial.enlarge(upsample, x, rows, {}), upsample, x)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(height=st.integers(1, 6), rows=rows)
def test_a_reduction_in_bands(height, rows):
    downsample, x = decoders.filled(Downsample(3, operations)), draw(2, 3, 2 * height, 6)
    assert equal(spatial.halve(downsample, x, rows, {}), downsample, x)


@pytest.mark.parametrize("silu", [True, False])
def test_a_normalisation_with_known_moments(silu):
    norm, x = decoders.filled(operations.GroupNorm(2, 8, eps=1e-6)), draw(2, 8, 6, 5) + 3
    layer = nn.Sequential(norm, nn.SiLU()) if silu else norm
    assert equal(moments(x, 2).normaliser(norm, x, silu=silu)(x), layer, x)


@pytest.mark.parametrize("block", ["mid.block_1", "up.0.block.0"])
@pytest.mark.parametrize("rows", [1, 5, 100])
def test_a_residual_block_in_bands(block, rows):
    layer = decoders.decoder(temporal=False).decoder.get_submodule(block)
    x = draw(2, layer.norm1.num_channels, 7, 6)
    exact = copy.deepcopy(layer).double()
    reference = Reference.of(lambda layer, x: layer(x, 1), layer, exact, x)
    assert reference.error(spatial.residual(layer, x.clone(), rows, {})) <= 1


@pytest.mark.parametrize("scores", [0, 100, 10**6])
def test_attention_a_few_queries_at_a_time(scores):
    layer = decoders.decoder(temporal=False).decoder.mid.attn_1
    x = draw(2, layer.norm.num_channels, 5, 6)
    assert equal(spatial.attend(layer, x, 2, scores, {}), layer, x)


def test_an_enlargement_of_many_frames_and_then_of_few():
    """Few are not folded; what was made for many must not be taken for them."""
    upsample = decoders.filled(Upsample(32, operations))
    packs = {}
    for frames in (9, 1):
        x = draw(frames, 32, 9, 12)
        assert kernels.folds(x) == (frames == 9)
        assert equal(spatial.enlarge(upsample, x, 6, packs), upsample, x)
