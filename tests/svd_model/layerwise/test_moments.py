"""Statistics gathered piece by piece are those of the whole, in float64."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.svd_model.layerwise.moments import moments


def exact(x, groups):
    """Mean and variance of each row and group, by torch in float64."""
    rows = x.double().reshape(x.shape[0], groups, -1)
    variance, mean = torch.var_mean(rows, dim=-1, correction=0)
    return mean, variance


def check(found, x, groups):
    mean, variance = exact(x, groups)
    assert torch.allclose(found.mean.double(), mean, rtol=1e-6, atol=1e-6)
    assert torch.allclose(found.variance.double(), variance, rtol=1e-4, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(
    offset=st.sampled_from([0.0, 1.0, -300.0]),
    cuts=st.lists(st.integers(1, 19), max_size=4),
    rows=st.integers(1, 3),
)
def test_merged_bands_are_the_whole_even_where_the_mean_is_large(offset, cuts, rows):
    x = torch.randn(rows, 8, 20, 6, generator=torch.Generator().manual_seed(len(cuts))) + offset
    edges = [0, *sorted(set(cuts)), 20]
    merged = None
    for start, end in itertools.pairwise(edges):
        part = moments(x[:, :, start:end], 4)
        merged = part if merged is None else merged.merged(part)
    check(merged, x, 4)


def test_merged_rows_are_the_moments_of_all_rows():
    x = torch.randn(5, 8, 6, 6, generator=torch.Generator().manual_seed(1)) * torch.arange(1, 6).view(
        5, 1, 1, 1
    )
    whole = x.movedim(0, 1)[None]  # (1, C, T, H, W)
    check(moments(x, 4).merged_rows(), whole, 4)


def test_a_constant_has_no_variance():
    assert moments(torch.full((1, 4, 2, 2), 3.0), 2).variance.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_numbers_are_counted_in_float32(dtype):
    x = (torch.randn(1, 4, 64, 64) + 5).to(dtype)
    check(moments(x, 2), x, 2)


def test_large_inputs_are_counted_in_pieces():
    x = torch.randn(2, 64, 160, 160)
    check(moments(x, 32), x, 32)
