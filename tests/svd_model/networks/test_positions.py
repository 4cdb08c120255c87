"""Learned positions of frames and the convolution behind them (ExVideo), whole and in pieces."""

import copy
import functools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stillmotion.svd_model.adapters.exvideo import name_in_transformer
from stillmotion.svd_model.networks import kernels, planes
from stillmotion.svd_model.networks.embedding import LearnedPositions
from stillmotion.svd_model.networks.hooks import NO_HOOKS, Hooks
from stillmotion.svd_model.networks.operations import CastingOperations, scaled_dot_product_attention
from stillmotion.svd_model.networks.pieces import WHOLE, Pieces
from stillmotion.svd_model.networks.transformer import SpatialVideoTransformer
from stillmotion.svd_model.networks.unet import VideoUNet
from support import golden_family, tiny
from support.named_tensors import NamedTensors
from support.rounding import Reference

NAMED = NamedTensors("positions:")
PARAMS = replace(tiny.SMALL.unet, frame_positions=8)
FRAMES = 6


def layer() -> SpatialVideoTransformer:
    """A transformer of the golden numbers' sizes, on meta."""
    sizes = (32, 64, 2, scaled_dot_product_attention, CastingOperations)
    return SpatialVideoTransformer(*sizes, positions=8, device="meta", dtype=torch.float32)


@torch.no_grad()
def test_golden_family_block():
    """The block that ExVideo replaces, alone: positions, convolution and the block over time."""
    x = golden_family.NAMED.input("family.exvideo", (FRAMES, 32, 6, 8))
    context = golden_family.inputs()["context"][:1].expand(FRAMES, -1, -1)
    transformer = layer()
    weights = golden_family.weights("tiny_exvideo_block", "exvideo.")
    state = {name_in_transformer(key): tensor for key, tensor in weights.items()}
    others = {
        key: torch.zeros(tensor.shape) for key, tensor in transformer.state_dict().items() if key not in state
    }
    transformer.load_state_dict(state | others, strict=True, assign=True)
    constants = transformer.prepare(context, FRAMES)
    video = x.permute(0, 2, 3, 1).flatten(1, 2)[None]  # (T, C, H, W) -> (1, T, S, C)
    for pieces in (WHOLE, Pieces(2**13), Pieces(2**16)):
        moving = transformer._convolved(video, constants.frames, (6, 8), pieces)
        found = transformer.time_stack[0](moving, constants.temporal, pieces)
        golden_family.check("exvideo.block", found[0].unflatten(1, (6, 8)).permute(0, 3, 1, 2))


@functools.cache
def networks() -> tuple[VideoUNet, VideoUNet]:
    """A UNet with learned positions in float32 and in float64."""
    plain = NAMED.fill(VideoUNet(PARAMS, dtype=torch.float32, device="meta"))
    return plain, copy.deepcopy(plain).double()


def evaluate(unet: VideoUNet, pieces: Pieces, hooks: Hooks = NO_HOOKS) -> Tensor:
    """Output for two videos."""
    dtype, rows = next(unet.parameters()).dtype, 2 * FRAMES
    shapes = {"x": (rows, 8, 16, 24), "context": (rows, 3, 64), "y": (rows, 768)}
    x, context, y = (NAMED.input(name, shape).to(dtype) for name, shape in shapes.items())
    constants = unet.prepare(context, y, FRAMES)
    steps = torch.linspace(0.1, 0.9, rows, dtype=torch.float32)
    return unet.predict(x, unet.shifts(steps, constants), constants, hooks, pieces)


class Blocks(Hooks):
    """Outputs of the blocks in space, and inputs of the blocks over time."""

    def __init__(self):
        self.outputs, self.inputs = {}, {}

    def block(self, place, axis, block, x, context, pieces):
        if axis == "time":
            self.inputs[place] = x.clone()
        result = super().block(place, axis, block, x, context, pieces)
        if axis == "space":
            self.outputs[place] = result.clone()
        return result


@torch.no_grad()
@pytest.mark.parametrize("workspace", [None, 2**15], ids=["at once", "in pieces"])
def test_blocks_over_time_take_what_is_convolved(workspace):
    """In every transformer of the UNet: the other block's output with positions, by torch's own layer."""
    _, unet = networks()
    blocks = Blocks()
    evaluate(unet, Pieces(workspace), hooks=blocks)
    assert len(blocks.inputs) == 4
    stages = {"input": unet.input_blocks, "middle": [unet.middle_block], "output": unet.output_blocks}
    for place, found in blocks.inputs.items():
        transformer = stages[place.part][place.index][1]
        channels, size = found.shape[-1], (16 >> place.level, 24 >> place.level)
        convolution = nn.Conv3d(channels, channels, 3, padding=1, padding_mode="reflect", dtype=torch.float64)
        convolution.load_state_dict(transformer.positional_conv.state_dict())
        positions = transformer.time_pos_embed(transformer.positional_embedding.embeddings[:FRAMES])
        video = blocks.outputs[place].unflatten(0, (2, FRAMES)) + positions[:, None]
        expected = convolution(video.unflatten(2, size).permute(0, 4, 1, 2, 3))
        assert torch.allclose(found, expected.permute(0, 2, 3, 4, 1).flatten(2, 3), rtol=0, atol=1e-11)


@torch.no_grad()
@pytest.mark.parametrize("in_planes", [False, True], ids=["as on a CPU", "in planes"])
def test_pieces_are_exact(in_planes, monkeypatch):
    """Groups of one frame, of two and of all: in float64 equal, in float32 as the plain pass rounds."""
    if in_planes:
        monkeypatch.setattr(planes, "fits", lambda device: True)
        monkeypatch.setattr(kernels, "memory_format", lambda device: torch.contiguous_format)
    plain, exact = networks()
    reference = Reference(evaluate(plain, WHOLE), evaluate(exact, WHOLE))
    for workspace in (2**15, 2**18, 2**20):
        assert reference.error(evaluate(plain, Pieces(workspace))) <= 1
    found = evaluate(exact, Pieces(2**17))
    assert (found - reference.exact).abs().max() < 1e-11 * reference.exact.abs().max()


@torch.no_grad()
def test_the_convolution_is_that_of_torch_with_mirrored_borders():
    """Whatever the groups, over two videos."""
    transformer = NAMED.fill(layer()).double()
    torch_layer = nn.Conv3d(32, 32, 3, padding=1, padding_mode="reflect", dtype=torch.float64)
    torch_layer.load_state_dict(transformer.positional_conv.state_dict())
    video = NAMED.input("video", (2, 5, 12, 32)).double()
    positions = NAMED.input("frames", (5, 1, 32)).double()
    moved = (video + positions).unflatten(2, (3, 4)).permute(0, 4, 1, 2, 3)  # -> (B, C, T, H, W)
    expected = torch_layer(moved).permute(0, 2, 3, 4, 1).flatten(2, 3)
    for workspace in (None, 1, 2**15, 2**16, 2**17):
        found = transformer._convolved(video, positions, (3, 4), Pieces(workspace))
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("frames", "size", "words"),
    [(1, (4, 4), "1 frames of 4×4"), (3, (1, 4), "3 frames of 4×1")],
)
def test_a_clip_without_neighbours_is_refused(frames, size, words):
    video = torch.zeros(1, frames, size[0] * size[1], 32)
    with pytest.raises(ValueError, match=words):
        layer()._convolved(video, torch.zeros(frames, 1, 32), size, WHOLE)


def test_more_frames_than_positions_are_refused():
    positions = NAMED.fill(LearnedPositions(8, 4, dtype=torch.float32, device="meta"))
    assert torch.equal(positions(8, torch.zeros(())), positions.embeddings)
    with pytest.raises(ValueError, match=r"9 frames; this UNet has learned the positions of 8"):
        positions(9, torch.zeros(()))
