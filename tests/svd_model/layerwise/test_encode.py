"""The walk through the encoder gives the latents of the plain encoder."""

import pytest
import torch

from stillmotion.svd_model import layerwise
from support import decoders, tiny
from support.failing_allocations import FailingAllocations
from support.live_memory import LiveMemory
from support.rounding import Reference

ENCODER = decoders.encoder()
EXACT_ENCODER = decoders.encoder().double()


def pictures(count, height, width):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(height)) * 2 - 1


def smallest(height, width):
    options = {"dtype": torch.float32, "device": "cpu"}
    return layerwise.EncodePlanner(tiny.SMALL.vae, height, width, **options).smallest().peak


def reference(images):
    """The latents of the plain encoder, and the exact ones."""
    return Reference.of(lambda network, images: network(images), ENCODER, EXACT_ENCODER, images)


@pytest.mark.parametrize(("count", "height", "width"), [(1, 8, 16), (3, 64, 40), (2, 24, 136)])
@pytest.mark.parametrize("bounded", [True, False])
def test_latents_are_those_of_the_plain_encoder(count, height, width, bounded):
    images = pictures(count, height, width)
    told = []
    budget = smallest(height, width) if bounded else None
    latents = layerwise.encode_frames(ENCODER, images, budget=budget, progress=told.append)
    assert reference(images).error(latents) <= 1
    assert told == [pytest.approx((index + 1) / count) for index in range(count)]


def test_tensors_alive_stay_within_the_budget():
    images = pictures(2, 96, 128)
    budget = smallest(96, 128)
    with LiveMemory() as live:
        layerwise.encode_frames(ENCODER, images, budget=budget)
    assert live.peak <= 1.05 * budget


def test_a_failing_allocation_anywhere_is_survived():
    images = pictures(1, 64, 64)
    expected = reference(images)
    with FailingAllocations() as counting:
        layerwise.encode_frames(ENCODER, images)
    for position in torch.linspace(0, counting.count - 2, 12).long().tolist():
        with FailingAllocations(position):
            latents = layerwise.encode_frames(ENCODER, images)
        assert expected.error(latents) <= 1, f"operation {position}"


def test_images_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="images have shape"):
        layerwise.encode_frames(ENCODER, torch.zeros(1, 3, 20, 24))
