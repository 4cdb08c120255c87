"""The walk through the encoder gives the latents of the plain encoder."""

import pytest
import torch

from stillmotion.svd_model import layerwise
from support import decoders, tiny
from support.decoders import relative
from support.failing_allocations import FailingAllocations
from support.live_memory import LiveMemory

ENCODER = decoders.encoder()


def pictures(count, height, width):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(height)) * 2 - 1


def smallest(height, width):
    return layerwise.smallest_budget(layerwise.plan_encode, tiny.VAE, height, width)


@pytest.mark.parametrize(("count", "height", "width"), [(1, 8, 8), (3, 64, 40), (2, 24, 136)])
@pytest.mark.parametrize("bounded", [True, False])
def test_latents_are_those_of_the_plain_encoder(count, height, width, bounded):
    images = pictures(count, height, width)
    told = []
    budget = smallest(height, width) if bounded else None
    latents = layerwise.encode_frames(ENCODER, images, budget=budget, progress=told.append)
    # In float64: of a single position group normalisation magnifies the rounding of either.
    assert relative(latents, decoders.encoder().double()(images.double())) < 2e-5
    assert told == [pytest.approx((index + 1) / count) for index in range(count)]


def test_tensors_alive_stay_within_the_budget():
    images = pictures(4, 128, 192)
    budget = smallest(128, 192)
    with LiveMemory() as live:
        layerwise.encode_frames(ENCODER, images, budget=budget)
    assert live.peak <= 1.05 * budget


def test_a_failing_allocation_anywhere_is_survived():
    images = pictures(1, 128, 128)
    expected = ENCODER(images)
    with FailingAllocations() as counting:
        layerwise.encode_frames(ENCODER, images)
    for position in torch.linspace(0, counting.count - 2, 20).long().tolist():
        with FailingAllocations(position):
            latents = layerwise.encode_frames(ENCODER, images)
        assert relative(latents, expected) < 2e-5


def test_images_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="images have shape"):
        layerwise.encode_frames(ENCODER, torch.zeros(1, 3, 20, 24))
