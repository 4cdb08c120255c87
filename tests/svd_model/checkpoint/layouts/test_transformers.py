"""Checkpoints saved by ComfyUI, with transformers' names in the image tower, read as released ones."""

import contextlib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.svd_model.checkpoint import Checkpoint, CheckpointError
from stillmotion.svd_model.checkpoint.layouts import with_released_names
from stillmotion.svd_model.checkpoint.layouts.origins import stacked
from stillmotion.svd_model.checkpoint.layouts.released import VISION
from stillmotion.svd_model.checkpoint.sources import TensorFile, joined
from support import checkpoints, diffusers_keys, headers

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


def storages(tensors) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


@pytest.mark.parametrize("joint", [False, True])
def test_query_key_and_value_are_loaded_without_a_copy(joint):
    """All but the last projection, which is transposed, stay in the memory of the file."""
    tensors = saved_by_comfyui()
    file = as_file(tensors)
    if joint:
        tower = with_released_names(file.having({key for key in tensors if key.startswith(VISION)}))
        file = joined(file.path, [tower, as_file(RELEASED)])
    tower = Checkpoint(file).vision.load(dtype=torch.float32, device="cpu")
    stored = storages(tensors.values())
    copied = [key for key, weight in tower.named_parameters() if not storages([weight]) <= stored]
    assert copied == ["proj"]


@pytest.mark.parametrize(
    "stored", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn], ids=str
)
@pytest.mark.parametrize("computed", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_it_computes_what_the_released_file_does_bit_for_bit(stored, computed):
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1)).to(computed)
    embeddings = []
    for tensors in (RELEASED, saved_by_comfyui()):
        file = as_file({key: tensor.to(stored) for key, tensor in tensors.items()})
        tower = Checkpoint(file).vision.load(dtype=computed, device="cpu")
        with torch.inference_mode():
            embeddings.append(tower(pixels))
    assert torch.equal(*embeddings)
    assert embeddings[0].isfinite().all() and embeddings[0].std() > 0


@pytest.mark.parametrize(
    "dtypes",
    [(torch.float16,) * 3, (torch.float16, torch.float32, torch.bfloat16), (torch.float8_e5m2,) * 3],
    ids=str,
)
@pytest.mark.parametrize("shape", [(3, 5), (4,), (0, 2)], ids=str)
def test_a_stack_on_meta_has_the_shape_and_the_dtype_of_a_stack(shape, dtypes, monkeypatch):
    pieces = [torch.zeros(shape, dtype=dtype) for dtype in dtypes]
    expected = torch.cat(pieces)
    assert torch.equal(stacked(*pieces).float(), expected.float())
    monkeypatch.delattr(torch, "cat")  # on meta it imports torch's compiler, for most of a second
    described = stacked(*(piece.to("meta") for piece in pieces))
    assert (described.shape, described.dtype) == (expected.shape, expected.dtype)


@pytest.mark.parametrize("lost", ["self_attn.k_proj.weight", "mlp.fc1.bias"])
def test_what_a_damaged_one_lacks_is_reported_under_the_released_name(lost):
    tensors = saved_by_comfyui()
    del tensors[f"{VISION}vision_model.encoder.layers.1.{lost}"]
    missing = Checkpoint(as_file(tensors)).vision.missing
    name = "attn.in_proj_weight" if "k_proj" in lost else "mlp.c_fc.bias"
    assert missing == (f"{VISION}transformer.resblocks.1.{name}",)


SHAPES_THAT_DO_NOT_STACK = [
    *(((), (), ()), ((64, 64), (64, 32), (64, 64)), ((2**62, 2**62),) * 3),
    ((100, 64), (64, 64), (28, 64)),  # one below another they have the right shape
]


@pytest.mark.parametrize("shapes", SHAPES_THAT_DO_NOT_STACK)
def test_parts_that_do_not_stack_are_reported_as_missing(shapes):
    tensors = saved_by_comfyui()
    prefix = f"{VISION}vision_model.encoder.layers.1.self_attn."
    changed = {f"{prefix}{part}_proj.weight": shape for part, shape in zip("qkv", shapes, strict=True)}
    file = headers.file({key: tuple(tensor.shape) for key, tensor in tensors.items()} | changed)
    checkpoint = Checkpoint(file)
    assert checkpoint.vision.missing == (f"{VISION}transformer.resblocks.1.attn.in_proj_weight",)
    assert checkpoint.unexpected() == list(changed)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(), (64,)])
def test_a_last_projection_that_is_no_matrix_is_reported_as_missing(shape):
    name = f"{VISION}visual_projection.weight"
    shapes = {key: tuple(tensor.shape) for key, tensor in saved_by_comfyui().items()}
    checkpoint = Checkpoint(headers.file(shapes | {name: shape}))
    assert checkpoint.vision.missing == (f"{VISION}proj",)
    assert checkpoint.unexpected() == [name]


LARGE = [0, 1, 2, 3, 31, 64, 1280, 2**20, 2**31, 2**62]
SAVED = {key: tuple(tensor.shape) for key, tensor in saved_by_comfyui().items()}
TOWER = [key for key in SAVED if key.startswith(VISION)]


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    shapes=st.dictionaries(
        st.sampled_from(TOWER) | st.text("visual.0²é🎥", max_size=9).map(VISION.__add__),
        st.none() | st.lists(st.sampled_from(LARGE), max_size=5).map(tuple),
        max_size=4,
    ),
    dtypes=st.dictionaries(
        st.sampled_from(TOWER), st.sampled_from([torch.float64, torch.int64, "I64", "F4"]), max_size=1
    ),
)
def test_any_header_is_reported_or_refused_in_words(shapes, dtypes):
    shapes = {key: shape for key, shape in (SAVED | shapes).items() if shape is not None}
    dtypes = {key: dtype for key, dtype in dtypes.items() if key in shapes}
    with contextlib.suppress(CheckpointError):
        checkpoint = Checkpoint(headers.file(shapes, dtypes))
        assert checkpoint.complete in (True, False)
        assert len(checkpoint.unexpected()) <= len(shapes)
