"""The walk as it goes on a GPU, in planes and with frames in one tensor, played on a CPU."""

import functools

import pytest
import torch

from stillmotion.svd_model import layerwise
from stillmotion.svd_model.networks import kernels, planes
from support import decoders, tiny
from support.decoders import relative
from support.failing_allocations import FailingAllocations
from support.live_memory import LiveMemory, MemoryLimit

DECODERS = {temporal: decoders.decoder(temporal, not temporal) for temporal in (True, False)}


@functools.cache
def reference(frames, height, width, temporal=True, ring=False):
    return decoders.reference(latents(frames, height, width), temporal, ring=ring)


@pytest.fixture(autouse=True)
def in_planes(monkeypatch):
    for frames, height, width in (
        (1, 3, 5),
        (2, 4, 4),
        (4, 5, 6),
        (5, 3, 5),
        (6, 8, 8),
    ):  # before, as on a CPU
        decoders.reference(latents(frames, height, width))
    monkeypatch.setattr(planes, "fits", lambda device: True)
    monkeypatch.setattr(kernels, "memory_format", lambda device: torch.contiguous_format)


def latents(frames, height, width):
    return torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(frames))


def decode(z, temporal=True, **options):
    return torch.stack(list(layerwise.decode_frames(DECODERS[temporal], z, **options)))


def same_picture(found, z, temporal=True, ring=False):
    return reference(len(z), *z.shape[2:], temporal, ring).error(found) <= 1


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0, None])
@pytest.mark.parametrize("ring", [False, True])
def test_the_picture_is_that_of_the_one_piece_decode_under_any_budget(frames, share, ring):
    z = latents(frames, 3, 5)
    budget = None if share is None else decoders.budget_between(z, share)
    assert same_picture(decode(z, budget=budget, ring=ring), z, ring=ring)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_and_of_a_frame_wise_decoder(share):
    z = latents(3, 5, 6)
    assert same_picture(decode(z, False, budget=decoders.budget_between(z, share, False)), z, False)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_in_bfloat16(share):
    z = latents(4, 5, 6).bfloat16()
    found = decode(z, budget=decoders.budget_between(z, share))
    assert found.dtype == torch.bfloat16
    assert relative(found, reference(4, 5, 6).exact) < 3e-2


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("ring", [False, True])
def test_tensors_alive_stay_within_the_budget(share, ring):
    z = latents(6, 8, 8)
    budget = decoders.budget_between(z, share)
    with LiveMemory() as live:
        for _ in layerwise.decode_frames(DECODERS[True], z, budget=budget, ring=ring):
            pass
    assert live.peak <= 1.05 * budget


@pytest.mark.parametrize("share", [0.3, None])
def test_a_failing_allocation_anywhere_is_survived_with_the_same_picture(share):
    z = latents(2, 4, 4)
    budget = None if share is None else decoders.budget_between(z, share)
    with FailingAllocations() as counting:
        decode(z, budget=budget)
    for position in torch.linspace(0, counting.count - 2, 25).long().tolist():
        with FailingAllocations(position):
            found = decode(z, budget=budget)
        assert same_picture(found, z), f"operation {position}"


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6])
def test_a_device_smaller_than_the_budget_is_survived(share):
    """What is in one tensor goes elsewhere in the middle of the work."""
    z = latents(5, 3, 5)
    with MemoryLimit(round(1.05 * decoders.budget_between(z, share))):
        found = decode(z)
    assert same_picture(found, z)


def test_with_room_for_all_a_layer_takes_as_many_operations_as_its_parts():
    """Whatever the number of frames and rows: all of them are one piece."""
    counts = []
    for frames, height in ((2, 4), (6, 8)):
        with FailingAllocations() as counting:
            decode(latents(frames, height, 8))
        counts.append(counting.count - 100 * frames)  # at most, of the output, frame by frame
    assert counts[1] <= counts[0]
    sizes = tiny.SMALL.vae
    layers = 2 + len(sizes.channel_mult) * (sizes.num_res_blocks + 1)
    assert counts[0] < 300 * layers
