"""Checkpoints saved by ComfyUI, with transformers' names in the image tower, read as released ones."""

from pathlib import Path

import pytest
import torch

from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.layouts import with_released_names
from stillmotion.svd_model.checkpoint.layouts.released import VISION
from stillmotion.svd_model.checkpoint.sources import TensorFile
from support import checkpoints, diffusers_keys

RELEASED = checkpoints.tensors("svd")


def saved_by_comfyui() -> dict[str, torch.Tensor]:
    """The same checkpoint with its image tower renamed by an independent table."""
    tower = {key.removeprefix(VISION): t for key, t in RELEASED.items() if key.startswith(VISION)}
    others = {key: tensor for key, tensor in RELEASED.items() if not key.startswith(VISION)}
    return others | {VISION + key: tensor for key, tensor in diffusers_keys.vision(tower).items()}


def as_file(tensors: dict[str, torch.Tensor]) -> TensorFile:
    return TensorFile.of_tensors(Path("saved.safetensors"), tensors)


def test_every_tensor_reads_as_in_the_released_file():
    file = with_released_names(as_file(saved_by_comfyui()))
    assert file.shapes == {key: tuple(tensor.shape) for key, tensor in RELEASED.items()}
    assert file.dtypes == {key: tensor.dtype for key, tensor in RELEASED.items()}
    assert all(torch.equal(file.read(key), tensor) for key, tensor in RELEASED.items())


def test_such_a_checkpoint_is_whole():
    checkpoint = Checkpoint(as_file(saved_by_comfyui()))
    assert checkpoint.complete
    assert checkpoint.unexpected() == []


def test_a_released_file_is_left_as_it_is():
    file = as_file(RELEASED)
    assert with_released_names(file) is file


@pytest.mark.parametrize("lost", ["self_attn.k_proj.weight", "mlp.fc1.bias"])
def test_what_a_damaged_one_lacks_is_reported_under_the_released_name(lost):
    tensors = saved_by_comfyui()
    del tensors[f"{VISION}vision_model.encoder.layers.1.{lost}"]
    missing = Checkpoint(as_file(tensors)).vision.missing
    name = "attn.in_proj_weight" if "k_proj" in lost else "mlp.c_fc.bias"
    assert missing == (f"{VISION}transformer.resblocks.1.{name}",)
