"""Checkpoints of every kind, and what changes their networks, on ranks: to the byte, here by threads."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion.headless import Pipeline
from stillmotion.headless.engine import local
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.sources import TensorFile
from support import checkpoints, controlnets, lora_files, tiny
from support.exchange import Ranks

PICTURE = Image.fromarray(np.indices((64, 64)).sum(0).astype(np.uint8)).convert("RGB")
QUICK = {"width": 64, "height": 64, "steps": 2}
KINDS = {
    "svd": {"num_frames": 4},
    "svd_image_decoder": {"num_frames": 4},
    "sv3d_u": {"num_frames": 21},
    "sv3d_p": {"num_frames": 21, "elevation": 15},
    "motionctrl_svd": {"num_frames": 4, "camera": "pan_left"},
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def one_by_one(monkeypatch):
    """Has pipelines evaluate branches one after the other, from its call on."""
    evaluate = local.Evaluator.__call__

    def each(self, names, x, sigma):
        return tuple(itertools.chain(*(evaluate(self, (name,), x, sigma) for name in names)))

    return lambda: monkeypatch.setattr(local.Evaluator, "__call__", each)


def checkpoint(kind="svd"):
    return Checkpoint(
        TensorFile.of_tensors(Path(f"{kind}.safetensors"), checkpoints.tensors(kind, sizes=tiny.SMALL))
    )


def check(one_by_one, kind, settings, frames=None, **options):
    """That two ranks make the latents of one pipeline, and frames that differ by a byte at most."""

    def clip(ranks=None):
        pipeline = Pipeline(checkpoint(kind), "cpu", "float32", ranks=ranks, **options)
        return pipeline.animate(PICTURE, QUICK | settings, control=frames)

    found = Ranks.run(2, clip)
    one_by_one()
    expected = clip()
    for of_rank in found:
        assert torch.equal(of_rank.latents, expected.latents)
        assert np.abs(of_rank.frames.astype(int) - expected.frames).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_each_kind(one_by_one, kind):
    check(one_by_one, kind, KINDS[kind])


def test_a_lora(one_by_one, tmp_path):
    tensors = lora_files.random_pairs(checkpoint().unet.expected, "attn1.to_q")
    file = lora_files.write(tmp_path / "style.safetensors", tensors)
    check(one_by_one, "svd", KINDS["svd"], loras=[file])


def test_a_controlnet(one_by_one, tmp_path):
    file = controlnets.write(tmp_path / controlnets.FILE, tiny.SMALL.unet)
    check(one_by_one, "svd", KINDS["svd"], frames=[PICTURE], control=file)


def test_a_budget_of_memory(one_by_one):
    """In pieces, which round otherwise, but on every rank alike."""
    least = Pipeline(checkpoint(), "cpu", "float32").fit.needed((4, 8, 8), False)

    def clip(ranks=None):
        pipeline = Pipeline(checkpoint(), "cpu", "float32", ranks=ranks, memory_budget=least)
        return pipeline.animate(PICTURE, QUICK | KINDS["svd"]).latents

    (first, second), alone = Ranks.run(2, clip), clip()
    assert torch.equal(first, second)
    assert (first - alone).abs().max() < 1e-4 * alone.abs().max()
