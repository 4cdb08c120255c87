"""A loop is decoded on its ring: whole and layer by layer, wherever it begins and whatever the memory."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stillmotion.svd_model import layerwise
from stillmotion.svd_model.layerwise import Spill
from support import decoders
from support.failing_allocations import FailingAllocations
from support.live_memory import LiveMemory, MemoryLimit

TEMPORAL = decoders.decoder()
EXACT = decoders.decoder().double()
ROUNDING = 1e-12
"""Of float64 through some forty layers, relative to the largest magnitude; float32 errs by 1e-6."""


def latents(frames, height=3, width=5):
    return torch.randn(
        frames, 4, height, width, generator=torch.Generator().manual_seed(frames), dtype=torch.float64
    )


def circular():
    """The exact decoder with torch's own circular padding in time."""
    decoder = decoders.decoder().double()
    for conv in decoder.modules():
        if isinstance(conv, nn.Conv3d):
            conv.padding_mode = "circular"
    return decoder


@functools.cache
def whole(frames, height=3, width=5):
    with torch.no_grad():
        return circular()(latents(frames, height, width), frames)


def decode(z, decoder=EXACT, **options):
    return torch.stack(list(layerwise.decode_frames(decoder, z, ring=True, **options)))


def same(found, expected):
    return (found - expected).abs().max() < ROUNDING * expected.abs().max()


@functools.cache
def reference(frames, height, width):
    return decoders.reference(latents(frames, height, width).float(), ring=True)


def same_picture(frames, z):
    return reference(len(z), *z.shape[2:]).error(frames) <= 1


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_in_one_piece_it_is_torchs_circular_padding(frames):
    with torch.no_grad():
        assert same(EXACT(latents(frames), frames, ring=True), whole(frames))


def test_each_video_of_a_batch_is_a_ring_of_its_own():
    with torch.no_grad():
        both = EXACT(torch.cat((latents(3), latents(3).flip(0))), 3, ring=True)
        assert same(both[:3], whole(3))
        assert same(both[3:], EXACT(latents(3).flip(0), 3, ring=True))


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_layer_by_layer_it_is_the_whole_under_any_budget(frames, share, tmp_path):
    z = latents(frames)
    spill = Spill(torch.device("cpu"), folder=tmp_path)
    assert same(decode(z, budget=decoders.budget_between(z, share), spill=spill), whole(frames))


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(
    frames=st.integers(1, 6),
    height=st.integers(1, 6),
    width=st.integers(2, 6),
    start=st.integers(-6, 6),
    share=st.floats(0, 1),
)
def test_it_may_begin_anywhere(frames, height, width, start, share):
    """decode(roll(z)) = roll(decode(z)): no frame of a ring is the first."""
    z = latents(frames, height, width)
    rolled = decode(z.roll(start, 0), budget=decoders.budget_between(z, share))
    assert same(rolled, decode(z).roll(start, 0))


def test_between_zeros_the_ends_differ():
    """What a ring is for."""
    z = latents(9)
    plain = torch.stack(list(layerwise.decode_frames(EXACT, z)))
    difference = (plain - decode(z)).abs().amax((1, 2, 3)) / plain.abs().max()
    assert difference[[0, -1]].min() > 0.1 > difference[4]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_in_narrower_dtypes(share):
    """In float32 within what its own rounding explains, in bfloat16 within some 1/256 a layer."""
    z = latents(4).float()
    budget = decoders.budget_between(z, share)
    assert same_picture(decode(z, TEMPORAL, budget=budget), z)
    narrow = decode(z.bfloat16(), TEMPORAL, budget=decoders.budget_between(z.bfloat16(), share))
    assert decoders.relative(narrow, reference(4, 3, 5).exact) < 3e-2


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("frames", [1, 5])
def test_tensors_alive_stay_within_the_budget(frames, share):
    z = latents(frames, 8, 12).float()
    budget = decoders.budget_between(z, share)
    with LiveMemory() as live:
        for _ in layerwise.decode_frames(TEMPORAL, z, budget=budget, ring=True):
            pass
    assert 0.4 * decoders.plan(z, budget).peak < live.peak <= 1.05 * budget


@pytest.mark.parametrize("share", [0.3, None])
def test_a_failing_allocation_anywhere_is_survived_with_the_same_picture(share):
    z = latents(3, 3, 4).float()
    budget = None if share is None else decoders.budget_between(z, share)
    with FailingAllocations() as counting:
        decode(z, TEMPORAL, budget=budget)
    for position in torch.linspace(0, counting.count - 2, 12).long().tolist():
        with FailingAllocations(position):
            found = list(layerwise.decode_frames(TEMPORAL, z, budget=budget, ring=True))
        assert same_picture(torch.stack(found), z), f"operation {position}"


def test_a_device_smaller_than_the_budget_is_survived():
    z = latents(4, 6, 8).float()
    with MemoryLimit(round(1.05 * decoders.budget_between(z, 0.2))):
        found = list(layerwise.decode_frames(TEMPORAL, z, ring=True))
    assert same_picture(torch.stack(found), z)


def test_a_decoder_of_single_frames_decodes_a_ring_either_way():
    frame_wise = decoders.decoder(temporal=False).double()
    z = latents(3)
    plain = torch.stack(list(layerwise.decode_frames(frame_wise, z)))
    assert torch.equal(decode(z, frame_wise), plain)
    assert same(decode(z.roll(1, 0), frame_wise), plain.roll(1, 0))
