"""Linear layers in float8, on a CPU, where torch rounds as the hardware does."""

import pytest
import torch
from torch import nn

from stillmotion.svd_model.networks import float8
from stillmotion.svd_model.networks.float8 import Float8Operations


def layer(rows: int, columns: int, bias: bool = True) -> nn.Module:
    made = Float8Operations.Linear(columns, rows, bias=bias)
    for parameter in made.parameters():
        parameter.requires_grad_(False).normal_(0, columns**-0.5, generator=torch.Generator().manual_seed(0))
    return made


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_is_near_the_exact_product(dtype, bias):
    x = torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(1)).to(dtype)
    linear = layer(96, 64, bias)
    exact = linear(x).float()
    float8.quantise(linear)
    assert linear.weight.dtype == float8.FORMAT
    result = linear(x)
    assert result.dtype == dtype and result.shape == exact.shape
    error = (result.float() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert 0.001 < error < 0.06  # three bits behind the point, in both factors


@torch.no_grad()
def test_the_scale_follows_the_input():
    linear = float8.quantise(layer(96, 64, bias=False))
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(linear(1000 * x), 1000 * linear(x), rtol=1e-2, atol=1)
    assert torch.equal(linear(torch.zeros(3, 64)), torch.zeros(3, 96))


@torch.no_grad()
@pytest.mark.parametrize("rows", [96, 80, 20])
def test_the_halves_are_those_of_the_output(rows):
    """Also where half of the weight's rows don't fit, and where all don't."""
    x = torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    linear = float8.quantise(layer(rows, 64).bfloat16())
    assert torch.equal(torch.cat(linear.halves(x), dim=-1), linear(x))


def test_a_layer_whose_sides_dont_fit_stays_as_it_is():
    linear = layer(20, 64)
    assert float8.quantise(linear).weight.dtype == torch.float32
    assert linear(torch.ones(2, 64)).shape == (2, 20)
