"""The estimate of memory against what a clip really takes."""

from pathlib import Path

import pytest
import torch

from stillmotion.headless import memory
from stillmotion.headless.pipeline import Pipeline
from stillmotion.headless.settings import Settings
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.tensor_file import TensorFile
from support import checkpoints
from support.live_memory import LiveMemory


@pytest.fixture(scope="module")
def pipeline():
    file = TensorFile.of_tensors(Path("svd.safetensors"), checkpoints.tensors("svd"))
    return Pipeline(Checkpoint(file), device="cpu")


def activations(pipeline, settings):
    weights = sum(network.size for network in pipeline.checkpoint.networks)
    return memory.estimate(pipeline.checkpoint, settings, torch.float32) - weights


def decoded(pipeline, settings):
    latents = torch.zeros(settings.num_frames, 4, settings.height // 8, settings.width // 8)
    pipeline.decode(latents[:1], settings.frame_wise_decode)  # loads the decoder
    with LiveMemory() as live:
        pipeline.decode(latents, settings.frame_wise_decode)
    return live.peak


@pytest.mark.parametrize(("num_frames", "width", "height"), [(1, 128, 64), (4, 64, 64), (3, 128, 128)])
def test_temporal_decode_takes_what_was_estimated(pipeline, num_frames, width, height):
    """All frames at once take more than the UNet does."""
    settings = Settings(num_frames=num_frames, width=width, height=height).complete(
        pipeline.checkpoint.variant
    )
    assert decoded(pipeline, settings) == pytest.approx(activations(pipeline, settings), rel=0.1)


def test_frame_wise_decode_is_estimated_for_one_frame(pipeline):
    settings = Settings(num_frames=3, width=128, height=128, frame_wise_decode=True)
    settings = settings.complete(pipeline.checkpoint.variant)
    assert decoded(pipeline, settings) <= 1.1 * activations(pipeline, settings)


def test_unet_takes_what_was_estimated(pipeline):
    """Where frames are decoded one by one, many of them make the UNet the larger part."""
    settings = Settings(num_frames=40, width=64, height=64, steps=1, frame_wise_decode=True)
    settings = settings.complete(pipeline.checkpoint.variant)
    picture = torch.zeros(1, 3, 64, 64)
    pipeline.animate_latents(picture, settings)  # loads the networks
    conditions = pipeline.encode(picture, settings, torch.Generator())
    with LiveMemory() as live:
        pipeline.sample(conditions, settings, torch.Generator())
    assert live.peak == pytest.approx(activations(pipeline, settings), rel=0.1)


def test_a_shortage_is_told_in_words():
    assert memory.shortage(2**30, 2 * 2**30) is None
    assert memory.shortage(2**30, None) is None
    assert memory.shortage(5 * 2**30, 2**30).startswith("this clip needs about 5.0 GiB of memory and 1.0 GiB")


def test_available_memory_is_known_on_the_cpu_only_here():
    assert 0 < memory.available(torch.device("cpu")) < 2**50
    assert memory.available(torch.device("meta")) is None
