"""The UNet as one graph of torch.compile."""

from dataclasses import replace

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from stillmotion.svd_model.networks.unet import VideoUNet
from support import tiny
from support.named_tensors import NamedTensors

NAMED = NamedTensors("compile:")
# Every kind of layer once or twice: tracing takes about half a second a layer.
PARAMS = tiny.SMALL.unet
ONE_LEVEL = replace(PARAMS, channel_mult=(1,))


@pytest.fixture
def compiler():
    """Counts graphs, and starts and ends with none known."""
    torch._dynamo.reset()
    yield CompileCounter()
    torch._dynamo.reset()


def inputs(frames: int) -> tuple:
    return (
        # Below 20480 numbers PyTorch convolves in another way on a CPU, which is a graph of its own.
        NAMED.input(f"x{frames}", (frames, 8, 32, 32)),
        torch.full((frames,), 0.7),
        NAMED.input("context", (1, 1, 64)).expand(frames, -1, -1),
        NAMED.input("y", (1, 768)).expand(frames, -1),
        frames,
    )


BOUND = 1e-4
"""Of the largest number. Compiled layers take other forms, each with float32's rounding of 6e-8 for every of
some hundred layers; a wrong shape or a frame in another's place changes the first digit."""


@torch.no_grad()
def test_it_is_one_graph_with_the_same_numbers(compiler):
    """A graph break is an error under fullgraph."""
    unet = NAMED.fill(VideoUNet(PARAMS, device="meta"))
    compiled = torch.compile(unet.forward, backend=compiler, fullgraph=True)
    expected = unet(*inputs(2))
    error = (compiled(*inputs(2)) - expected).abs().max()
    assert error < BOUND * expected.abs().max()
    assert compiler.frame_count == 1


@pytest.mark.parametrize(
    "params",
    [pytest.param(ONE_LEVEL, id="one level"), pytest.param(PARAMS, id="two", marks=pytest.mark.long)],
)
@torch.no_grad()
def test_it_is_compiled_at_most_twice_whatever_the_number_of_frames(compiler, params):
    """Once for the first number of frames and once for any."""
    unet = NAMED.fill(VideoUNet(params, device="meta"))
    compiled = torch.compile(unet.forward, backend=compiler, fullgraph=True)
    for frames in (2, 3, 4, 6):
        expected = unet(*inputs(frames))
        error = (compiled(*inputs(frames)) - expected).abs().max()
        assert error < BOUND * expected.abs().max()
    assert compiler.frame_count <= 2
