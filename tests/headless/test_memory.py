"""The estimate of memory against what a clip really takes."""

import math
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


def decode_peak(pipeline, frames, height, width, frame_wise):
    latents = torch.zeros(frames, 4, height, width)
    pipeline.decode(latents[:1], frame_wise)  # loads the decoder
    with LiveMemory() as live:
        pipeline.decode(latents, frame_wise)
    return live.peak


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 8, 16), (4, 8, 8), (3, 16, 16)])
def test_temporal_decode_takes_what_was_estimated(pipeline, frames, height, width):
    checkpoint = pipeline.checkpoint
    estimate = memory.to_decode(checkpoint, frames, height, width, False) - checkpoint.decoder.size
    assert decode_peak(pipeline, frames, height, width, False) == pytest.approx(estimate, rel=0.1)


def test_frame_wise_decode_is_estimated_for_one_frame(pipeline):
    estimate = memory.to_decode(pipeline.checkpoint, 3, 16, 16, True) - pipeline.checkpoint.decoder.size
    assert estimate / 2 <= decode_peak(pipeline, 3, 16, 16, True) <= 1.1 * estimate


def test_sampling_takes_what_was_estimated(pipeline):
    settings = Settings(num_frames=40, width=64, height=64, steps=1).complete(pipeline.checkpoint.variant)
    picture = torch.zeros(1, 3, 64, 64)
    pipeline.animate_latents(picture, settings)  # loads the networks
    conditions = pipeline.encode(picture, settings, torch.Generator())
    with LiveMemory() as live:
        pipeline.sample(conditions, settings, torch.Generator())
    checkpoint = pipeline.checkpoint
    weights = sum(network.size for network in (checkpoint.unet, checkpoint.encoder, checkpoint.vision))
    estimate = memory.to_sample(checkpoint, 40, 8, 8, torch.float32) - weights
    assert live.peak == pytest.approx(estimate, rel=0.1)


@pytest.mark.parametrize(("limit", "expected"), [("5000", 3000), ("max", math.inf)])
def test_a_containers_limit_counts(tmp_path, monkeypatch, limit, expected):
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text("2000\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    free = memory.available(torch.device("cpu"))
    assert free == expected if limit != "max" else free > 0
    assert free <= expected


def test_a_shortage_is_told_in_words():
    assert memory.shortage(2**30, 2 * 2**30) is None
    assert memory.shortage(2**30, None) is None
    assert memory.shortage(5 * 2**30, 2**30).startswith("this clip needs about 5.0 GiB of memory and 1.0 GiB")


def test_available_memory_is_known_on_the_cpu_only_here():
    assert 0 < memory.available(torch.device("cpu")) < 2**50
    assert memory.available(torch.device("meta")) is None
