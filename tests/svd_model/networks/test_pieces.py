"""The UNet in pieces against the plain pass, both against float64."""

import copy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stillmotion.svd_model.networks import kernels, planes
from stillmotion.svd_model.networks.hooks import NO_HOOKS, Hooks
from stillmotion.svd_model.networks.pieces import WHOLE, Pieces
from stillmotion.svd_model.networks.unet import UNetParams, VideoUNet
from support import tiny
from support.named_tensors import NamedTensors
from support.rounding import Reference

NAMED = NamedTensors("pieces:")


@cache
def networks(params: UNetParams = tiny.UNET) -> tuple[VideoUNet, VideoUNet]:
    """A UNet in float32 and in float64."""
    plain = NAMED.fill(VideoUNet(params, dtype=torch.float32, device="meta"))
    return plain, copy.deepcopy(plain).double()


def evaluate(unet: VideoUNet, inputs: tuple, frames: int, pieces: Pieces, hooks: Hooks = NO_HOOKS) -> Tensor:
    x, steps, context, y = (value.to(next(unet.parameters()).dtype) for value in inputs)
    constants = unet.prepare(context, y, frames)
    return unet.predict(x, unet.shifts(steps, constants), constants, hooks, pieces)


def inputs_of(params: UNetParams, rows: int, height: int, width: int, tokens: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(rows * height * width + tokens)
    x, context, y = (
        torch.randn(shape, generator=generator, dtype=torch.float32)
        for shape in ((rows, 8, height, width), (rows, tokens, params.context_dim), (rows, params.vector_dim))
    )
    return x, torch.linspace(0.1, 0.9, rows), context, y


@pytest.fixture(params=[False, True], ids=["as on a CPU", "in planes"])
def layout(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(planes, "fits", lambda device: True)
        monkeypatch.setattr(kernels, "memory_format", lambda device: torch.contiguous_format)


SIZES = st.tuples(
    st.integers(1, 2),  # videos
    st.integers(1, 5),  # frames
    st.sampled_from([8, 16]),
    st.sampled_from([8, 24]),
    st.sampled_from([1, 3]),  # tokens
)


@torch.no_grad()
@settings(max_examples=8, deadline=None)
@given(SIZES, st.sampled_from([2**15, 2**17, 2**18, 2**19, 2**20]), st.booleans())
def test_pieces_round_as_the_plain_pass_does(size, workspace, in_planes):
    with pytest.MonkeyPatch.context() as patch:
        if in_planes:
            patch.setattr(planes, "fits", lambda device: True)
            patch.setattr(kernels, "memory_format", lambda device: torch.contiguous_format)
        check(tiny.UNET, size, Pieces(workspace, skips_on_device=workspace < 2**18))


def check(params: UNetParams, size: tuple, pieces: Pieces) -> None:
    videos, frames, height, width, tokens = size
    plain, exact = networks(params)
    inputs = inputs_of(params, videos * frames, height, width, tokens)
    reference = Reference(evaluate(plain, inputs, frames, WHOLE), evaluate(exact, inputs, frames, WHOLE))
    found = evaluate(plain, inputs, frames, pieces)
    assert reference.error(found) <= 1
    assert (found - reference.exact).abs().max() <= 1e-5 * reference.exact.abs().max()


@torch.no_grad()
def test_pieces_are_exact_in_float64(layout):
    _, exact = networks()
    inputs = inputs_of(tiny.UNET, 6, 16, 24, 3)
    expected = evaluate(exact, inputs, 3, WHOLE)
    for workspace in (2**15, 2**17, 2**19):
        found = evaluate(exact, inputs, 3, Pieces(workspace))
        assert (found - expected).abs().max() < 1e-11 * expected.abs().max()
