"""Clips of hundreds of frames: decoded within a quarter of what all their tensors take, frame after frame."""

import pytest
import torch

from stillmotion.svd_model import layerwise
from support import decoders
from support.live_memory import LiveMemory

DECODER = decoders.decoder()


def latents(frames, height, width):
    return torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(frames))


def bounded(z, share, ring):
    """Frames one by one, within a share of what the plan without spilling takes; checks the peak at the end.

    Only the tensors of the decode count: whoever takes the frames lets go of them.
    """
    budget = round(share * decoders.plan(z).peak)
    with LiveMemory() as live:
        for frame in layerwise.decode_frames(DECODER, z, budget=budget, ring=ring):
            yield frame.numpy().copy()
    assert live.peak <= 1.05 * budget


@pytest.mark.parametrize("ring", [False, True])
def test_the_picture_is_that_of_the_one_piece_decode(ring):
    z = latents(100, 2, 2)
    found = torch.stack([torch.from_numpy(frame) for frame in bounded(z, 0.25, ring)])
    assert decoders.reference(z, ring=ring).error(found) <= 1


@pytest.mark.long
@pytest.mark.parametrize("ring", [False, True])
@pytest.mark.parametrize(("frames", "height", "width"), [(400, 16, 16), (100, 36, 64)])
def test_and_of_full_size_it_is_that_of_another_budget(frames, height, width, ring):
    """400 frames of 128×128 and 100 of 512×288. Each plan errs by float32's rounding, some 1e-6."""
    z = latents(frames, height, width)
    expected = list(bounded(z, 0.1, ring))
    for found, other in zip(bounded(z, 0.25, ring), expected, strict=True):
        assert abs(found - other).max() < 2e-5 * max(1, abs(other).max())
