"""What a small file says of itself: in its metadata, or as the tensors of a copy that a host saved."""

import json
from pathlib import Path

import pytest
import torch

from stillmotion.svd_model.checkpoint import Checkpoint, notes
from stillmotion.svd_model.checkpoint.layouts import released
from stillmotion.svd_model.checkpoint.notes import METADATA_KEY, LatentColours
from stillmotion.svd_model.checkpoint.sources import TensorFile
from support import checkpoints, headers
from support.refusals import refusal

ROWS = [[0.5, 0.25, -1.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [-2.0, 1.0, 0.125], [0.75, -0.5, 0.0]]
SAID = {"num_frames": 6, "width": 192, "height": 128, "head_channels": 8, "latent_rgb": ROWS}


def file(tensors: dict | None = None, metadata: dict | None = None) -> TensorFile:
    said = {} if metadata is None else {METADATA_KEY: json.dumps(metadata)}
    return TensorFile.of_tensors(Path("x.safetensors"), tensors or {}, said)


def test_tensors_say_what_the_metadata_said():
    saved = notes.as_tensors({**SAID, "trained": "words are not saved"})
    assert all(tensor.dtype == torch.float32 for tensor in saved.values())
    assert notes.read(file(saved)) == SAID == notes.read(file(metadata=SAID))


def test_a_tower_says_its_own():
    saved = notes.as_tensors({"vision_head_width": 16})
    under_the_tower = {released.VISION + key: tensor for key, tensor in saved.items()}
    assert notes.read(file(under_the_tower)) == {"vision_head_width": 16}
    assert all(released.is_known(key) for key in under_the_tower)


def test_the_metadata_goes_before_tensors():
    saved = notes.as_tensors(SAID)
    assert notes.read(file(saved, {"num_frames": 9}))["num_frames"] == 9


def test_large_tensors_are_no_notes():
    assert notes.read(file({"stillmotion.num_frames": torch.zeros(1000)})) == {}


def test_a_checkpoint_reads_both(tmp_path):
    """Sizes and colours, from tensors beside the weights; such keys are none that it does not know."""
    path = checkpoints.write(tmp_path / "kept.safetensors", **notes.as_tensors(SAID))
    kept = Checkpoint.open(path)
    assert (kept.variant.num_frames, kept.variant.width, kept.variant.height) == (6, 192, 128)
    assert kept.unet.params.head_channels == 8
    assert kept.latent_colours == LatentColours(tuple(map(tuple, ROWS[:4])), tuple(ROWS[4]))
    assert kept.unexpected() == []


@pytest.mark.parametrize(
    "rows", [ROWS[:4], [row[:2] for row in ROWS], "blue", 3, [[float("nan")] * 3] * 5, [["a"] * 3] * 5]
)
def test_colours_that_are_none_are_refused_in_words(rows):
    given = file(checkpoints.tensors(), {"latent_rgb": rows})
    with refusal("latent_rgb", "4 rows of three numbers and one of the bias"):
        assert Checkpoint(given).latent_colours


def test_released_files_say_nothing():
    checkpoint = Checkpoint(file(checkpoints.tensors()))
    assert checkpoint.notes == {}
    assert checkpoint.latent_colours is None


def test_notes_in_a_number_format_that_torch_has_not_are_left_out():
    key = "stillmotion.num_frames"
    assert notes.read(headers.file(headers.tiny() | {key: ()}, {key: "F4"})) == {}
