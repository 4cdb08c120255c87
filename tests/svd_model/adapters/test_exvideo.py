"""ExVideo's file over a checkpoint: the names of its tensors, and what is refused."""

import json

import pytest
import torch

from stillmotion.svd_model.adapters import exvideo
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.sources import CheckpointError, TensorFile
from support import checkpoints, exvideo_files, golden_family, headers, tiny

NEW = ("positional_embedding.embeddings", "positional_conv.weight", "positional_conv.bias")


def of_full_size() -> TensorFile:
    return headers.file(golden_family.keys("exvideo_svd_128f"), path="exvideo.safetensors")


def test_golden_family_names():
    """Each of the 480 tensors that svd_xt has gets the name in the list; the others are the new layers'."""
    content = json.loads((golden_family.FOLDER / "family" / "exvideo_name_map.json").read_text())
    names = exvideo.released_names(headers.released("svd_xt"), of_full_size().shapes)
    assert len(names) == 528
    assert {name: key for name, key in names.items() if not name.endswith(NEW)} == content


def test_golden_family_file_of_full_size_fits_svd_xt():
    """Nothing is missing, nothing left over, and the UNet has positions for 128 frames."""
    base = headers.file(headers.released("svd_xt"))
    checkpoint = Checkpoint(exvideo.over(base, of_full_size()))
    assert checkpoint.complete
    assert not checkpoint.unexpected()
    assert checkpoint.unet.params.frame_positions == 128
    widths = [320] * 5 + [640] * 5 + [1280] * 6
    new = sum(27 * width**2 + width + 128 * width for width in widths)
    assert checkpoint.unet.parameters - Checkpoint(base).unet.parameters == new


@pytest.fixture
def base() -> TensorFile:
    return TensorFile.of_tensors("svd_xt.safetensors", checkpoints.tensors(sizes=tiny.SMALL))


def test_the_blocks_are_the_files_and_all_others_the_checkpoints(base):
    content = exvideo_files.tensors()
    view = exvideo.over(base, TensorFile.of_tensors("exvideo.safetensors", content))
    unet = Checkpoint(view).unet.load(dtype=torch.float32, device="cpu").state_dict()
    places = ("input_blocks.1.1.", "middle_block.1.", "output_blocks.2.1.", "output_blocks.3.1.")
    expected = exvideo_files.under_released_names(content, list(places))
    assert len(expected) == 4 * 33
    for key, tensor in unet.items():
        other = base.read(f"model.diffusion_model.{key}") if key not in expected else expected[key]
        assert torch.equal(tensor, other), key


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks.7.norm_in.weight": None}, "lacks 1 tensors .*norm_in.weight"),
        ({"blocks.7.positional_conv.bias": None}, "lacks 1 tensors .*positional_conv.bias"),
        ({"blocks.7.norm_in.weight": torch.zeros(64)}, r"norm_in.weight is \[64\], the checkpoint's \[32\]"),
        ({"blocks.99.norm_in.weight": torch.zeros(32)}, "5 temporal blocks, the checkpoint 4"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(base, changes, words):
    content = {key: value for key, value in (exvideo_files.tensors() | changes).items() if value is not None}
    with pytest.raises(
        CheckpointError, match=f"exvideo.safetensors does not fit svd_xt.safetensors: .*{words}"
    ):
        exvideo.over(base, TensorFile.of_tensors("exvideo.safetensors", content))


def test_another_kind_of_file_is_refused(base):
    with pytest.raises(CheckpointError, match=r"svd_xt.safetensors is no ExVideo file"):
        exvideo.over(base, base)
