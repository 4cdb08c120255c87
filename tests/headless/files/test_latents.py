"""Latents in a file: they come back as they were, and what is no such file is refused."""

import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from stillmotion.clips.canvas import LARGEST_SIDE
from stillmotion.clips.choices import MOST_FRAMES
from stillmotion.headless.files import latents
from stillmotion.headless.files.destinations import ExistsError, OutputError
from support.refusals import refusal


@pytest.fixture
def clip() -> torch.Tensor:
    return torch.randn(5, 4, 8, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clip.safetensors"


def left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


class TestRoundTrip:
    def test_latents_come_back_bit_by_bit(self, path, clip):
        clip[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), -0.0])  # none of its business
        latents.save(path, clip, None)
        back = latents.read(path).latents
        assert back.dtype == torch.float32
        assert torch.equal(back.view(torch.int32), clip.view(torch.int32))

    @pytest.mark.parametrize("metadata", [{}, {"seed": 2**53 + 1, "fps": 6.0, "text": 'é "海"', "x": [None]}])
    def test_metadata_comes_back(self, path, clip, metadata):
        latents.save(path, clip, metadata)
        assert latents.read(path).notes == metadata

    def test_without_metadata_the_file_holds_none(self, path, clip):
        latents.save(path, clip, None)
        assert latents.read(path).notes == {}
        with safetensors.safe_open(path, "pt") as file:
            assert not file.metadata()

    def test_others_can_read_the_file(self, path, clip):
        latents.save(path, clip, {"seed": 7})
        assert torch.equal(safetensors.torch.load_file(path)["latents"], clip)
        with safetensors.safe_open(path, "pt") as file:
            assert json.loads(file.metadata()["stillmotion"]) == {"seed": 7}

    def test_a_view_is_saved_as_what_it_shows(self, path, clip):
        latents.save(path, clip.permute(0, 1, 3, 2)[::2], None)
        assert torch.equal(latents.read(path).latents, clip.transpose(2, 3)[::2])

    def test_the_same_latents_and_metadata_give_the_same_bytes(self, tmp_path, clip):
        for name, metadata in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1})):
            latents.save(tmp_path / f"{name}.safetensors", clip, metadata)
        assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()

    def test_an_older_file_is_replaced_on_request_and_nothing_else_left(self, path, clip):
        latents.save(path, clip, None)
        with pytest.raises(OutputError, match=r"File exists.*kept as .*clip-2\.safetensors"):
            latents.save(path, 2 * clip, None)
        assert torch.equal(latents.read(path).latents, clip)
        path.with_stem("clip-2").unlink()
        latents.save(path, 2 * clip, None, overwrite=True)
        assert torch.equal(latents.read(path).latents, 2 * clip)
        assert left_in(path.parent) == ["clip.safetensors"]

    @pytest.mark.parametrize("shape", [(1, 4, 1, 1), (MOST_FRAMES, 4, 1, LARGEST_SIDE // 8)])
    def test_the_smallest_and_the_largest_are_read(self, path, shape):
        latents.save(path, torch.zeros(shape), None)
        assert latents.read(path).latents.shape == shape


class TestDestination:
    @pytest.mark.parametrize("name", ["clip.safetensors", "CLIP.SafeTensors", "a.b.safetensors"])
    def test_a_new_or_an_older_file_is_fine(self, tmp_path, name):
        latents.check_destination(tmp_path / name)
        (tmp_path / name).write_bytes(b"older")
        latents.check_destination(tmp_path / name, overwrite=True)
        with pytest.raises(ExistsError, match="is there already"):
            latents.check_destination(tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"older"

    @pytest.mark.parametrize("name", ["clip.pt", "clip", "clip.safetensors.png", ".safetensors"])
    def test_another_ending_is_refused(self, tmp_path, name):
        with pytest.raises(OutputError, match=r"\.safetensors"):
            latents.check_destination(tmp_path / name)

    def test_a_folder_is_refused(self, path):
        path.mkdir()
        with pytest.raises(OutputError, match="folder"):
            latents.check_destination(path)

    @pytest.mark.parametrize("parent", ["missing", "file"])
    def test_a_parent_that_is_no_folder_is_refused(self, tmp_path, parent):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(OutputError, match=parent):
            latents.check_destination(tmp_path / parent / "clip.safetensors")
        assert left_in(tmp_path) == ["file"]


class TestFailedWrite:
    def test_a_failing_rename_keeps_the_older_file_and_the_new_one(self, path, clip, monkeypatch):
        latents.save(path, clip, None)
        replace = os.replace

        def refuse(source, target):
            if target == path:
                raise PermissionError(13, "in use")
            replace(source, target)

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(OutputError, match=r"in use.*kept as .*clip-2\.safetensors"):
            latents.save(path, 2 * clip, None, overwrite=True)
        assert torch.equal(latents.read(path).latents, clip)
        assert torch.equal(latents.read(path.with_stem("clip-2")).latents, 2 * clip)

    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    def test_half_a_file_is_removed_and_an_older_one_kept(self, path, clip, monkeypatch, error):
        latents.save(path, clip, None)

        def fail(tensors, partial, metadata):
            Path(partial).write_bytes(b"half")
            raise error

        monkeypatch.setattr(latents, "save_file", fail)
        expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
        with pytest.raises(expected) as refusal:
            latents.save(path, 2 * clip, None, overwrite=True)
        if expected is OutputError:
            assert f"{path} can't be written: No space left on device" in str(refusal.value)
        assert torch.equal(latents.read(path).latents, clip)
        assert left_in(path.parent) == ["clip.safetensors"]

    def test_a_folder_of_that_name_stays(self, path, clip):
        path.mkdir()
        with pytest.raises(OutputError, match=r"kept as .*clip-2\.safetensors"):
            latents.save(path, clip, None)
        assert left_in(path.parent) == ["clip-2.safetensors", "clip.safetensors"]
        assert left_in(path) == []

    def test_a_folder_that_went_away_is_an_output_error(self, tmp_path, clip):
        with pytest.raises(OutputError, match="can't be written"):
            latents.save(tmp_path / "gone" / "clip.safetensors", clip, None)

    def test_a_folder_that_became_a_file_is_an_output_error(self, tmp_path, clip):
        (tmp_path / "gone").write_bytes(b"")
        with pytest.raises(OutputError, match="can't be written"):
            latents.save(tmp_path / "gone" / "clip.safetensors", clip, None)


class TestOtherFiles:
    @pytest.mark.parametrize(
        "tensors",
        [
            {"latent": torch.zeros(1, 4, 2, 2)},
            {"latents": torch.zeros(4, 2, 2)},
            {"latents": torch.zeros(1, 1, 4, 2, 2)},
            {"latents": torch.zeros(())},
            {"latents": torch.zeros(1, 4, 2, 2, dtype=torch.float16)},
            {"latents": torch.zeros(1, 4, 2, 2, dtype=torch.float64)},
            {"latents": torch.zeros(1, 4, 2, 2, dtype=torch.int32)},
        ],
        ids=["name", "3 axes", "5 axes", "scalar", "float16", "float64", "int32"],
    )
    def test_which_hold_something_else_are_refused_with_what_to_do(self, path, tensors):
        safetensors.torch.save_file(tensors, path)
        with refusal(path, "no latents", "float32", "a file of latents that Stillmotion saved"):
            latents.read(path)

    @pytest.mark.parametrize(
        "shape",
        [
            (0, 4, 2, 2),
            (1, 4, 0, 2),
            (MOST_FRAMES + 1, 4, 1, 1),
            (1, 4, LARGEST_SIDE // 8 + 1, 1),
            (1, 4, 1, LARGEST_SIDE // 8 + 1),
            (1, 3, 2, 2),
            (1, 8, 2, 2),
        ],
        ids=str,
    )
    def test_of_a_shape_that_no_clip_has_are_refused(self, path, shape):
        safetensors.torch.save_file({"latents": torch.zeros(shape)}, path)
        with refusal(path, shape):
            latents.read(path)

    @pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n", b"no tensors at all", "folder"])
    def test_of_other_kinds_are_refused_without_a_word_of_checkpoints(self, path, content):
        if content == "folder":
            path.mkdir()
        elif content is not None:
            path.write_bytes(content)
        with refusal("clip.safetensors", "give a file of latents that Stillmotion saved") as error:
            latents.read(path)
        assert "checkpoint" not in str(error.value)

    @pytest.mark.parametrize("notes", [{}, {"stillmotion": "[1]"}, {"stillmotion": "{half"}, {"other": "{}"}])
    def test_notes_of_others_are_left_aside(self, path, clip, notes):
        safetensors.torch.save_file({"latents": clip}, path, metadata=notes)
        assert latents.read(path).notes == {}
