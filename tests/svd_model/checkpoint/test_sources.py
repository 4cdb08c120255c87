"""Files of tensors: what is read of them, and what every other file is called instead of a crash."""

import argparse
import json
import os
import pickle
import random
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from stillmotion.svd_model.checkpoint.sources import CheckpointError, TensorFile

CONTENT = {
    "matrix": torch.arange(6.0).reshape(2, 3),
    "half": torch.ones(4, dtype=torch.float16),
    "bfloat": torch.ones(2, 1, dtype=torch.bfloat16),
    "small": torch.ones(8, dtype=torch.float8_e4m3fn),
    "smaller": torch.ones(8, dtype=torch.float8_e5m2),
    "double": torch.ones((), dtype=torch.float64),
}
METADATA = {"stillmotion": '{"num_frames": 14}', "format": "pt"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def valid(folder) -> Path:
    path = folder / "valid.safetensors"
    save_file(CONTENT, path, metadata=METADATA)
    return path


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "model.safetensors"


def safetensors_bytes(header, data: bytes = b"", length: int | None = None) -> bytes:
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def f32(start: int, end: int, shape=(1,)) -> dict:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        TensorFile.open(path)
    assert str(path) in str(error.value), "the message does not say which file"
    return str(error.value)


def mapped_file(tensor: torch.Tensor) -> str:
    """The file that the memory of a tensor is mapped from, "" for none."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if start <= tensor.data_ptr() < end:
            return " ".join(line.split()[5:])
    return ""


linux = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")


class TestSafetensors:
    def test_the_header_is_read(self, valid):
        file = TensorFile.open(valid)
        assert file.path == valid
        assert file.size == valid.stat().st_size
        assert file.shapes == {key: tuple(tensor.shape) for key, tensor in CONTENT.items()}
        assert file.dtypes == {key: tensor.dtype for key, tensor in CONTENT.items()}
        assert file.metadata == METADATA

    def test_a_path_can_be_text(self, valid):
        assert TensorFile.open(str(valid)).path == valid

    @pytest.mark.parametrize("key", CONTENT)
    def test_tensors_are_read_as_they_are(self, valid, key):
        tensor = TensorFile.open(valid).read(key)
        assert tensor.dtype == CONTENT[key].dtype
        assert torch.equal(tensor.float(), CONTENT[key].float())

    def test_a_tensor_read_twice_is_the_same_memory(self, valid):
        file = TensorFile.open(valid)
        assert file.read("matrix").data_ptr() == file.read("matrix").data_ptr()
        assert file.read("matrix").data_ptr() != file.read("half").data_ptr()

    @linux
    def test_tensors_are_views_of_the_mapped_file(self, valid):
        file = TensorFile.open(valid)
        assert {mapped_file(file.read(key)) for key in CONTENT} == {str(valid)}

    def test_tensors_stay_when_the_file_object_is_gone(self, valid):
        assert torch.equal(TensorFile.open(valid).read("matrix"), CONTENT["matrix"])

    @pytest.mark.parametrize("shift", range(9))
    def test_wherever_the_data_begin(self, path, shift):
        """Writers need not align them: a view can't begin anywhere, so such a tensor is a copy."""
        values = [0.5, -1.25, 3.0]
        header = json.dumps({"a": f32(0, 4), "b": f32(4, 12, (2, 1))}).encode() + b" " * shift
        path.write_bytes(safetensors_bytes(header, struct.pack("<3f", *values)))
        file = TensorFile.open(path)
        assert file.read("a").tolist() == values[:1]
        assert file.read("b").tolist() == [[value] for value in values[1:]]

    def test_of_no_elements(self, path):
        save_file({"none": torch.zeros(0, 3), "one": torch.ones(1)}, path)
        assert TensorFile.open(path).read("none").shape == (0, 3)

    def test_without_metadata_it_is_empty(self, path):
        save_file({"a": torch.ones(1)}, path)
        assert TensorFile.open(path).metadata == {}

    @pytest.mark.parametrize("name", ["model.safetensors", "model.sft", "MODEL", "模型 ü.safetensors"])
    def test_the_name_does_not_matter(self, tmp_path, valid, name):
        (tmp_path / name).write_bytes(valid.read_bytes())
        assert set(TensorFile.open(tmp_path / name).shapes) == set(CONTENT)

    @pytest.mark.parametrize(
        ("dtype", "size"),
        [("I8", 1), ("U8", 1), ("BOOL", 1), ("I16", 2), ("I32", 4), ("I64", 8), ("F8_E8M0", 1), ("C64", 8)],
    )
    def test_other_dtypes_are_named_and_left_to_the_checkpoint(self, path, dtype, size):
        header = {"a": {"dtype": dtype, "shape": [3], "data_offsets": [0, 3 * size]}}
        path.write_bytes(safetensors_bytes(header, bytes(3 * size)))
        assert TensorFile.open(path).dtypes == {"a": dtype}


class TestTensorsInMemory:
    def test_are_like_a_file(self):
        file = TensorFile.of_tensors(Path("builtin"), CONTENT, METADATA)
        assert file.size == 24 + 8 + 4 + 8 + 8 + 8
        assert file.shapes["bfloat"] == (2, 1)
        assert file.dtypes["small"] == torch.float8_e4m3fn
        assert file.read("matrix") is CONTENT["matrix"]
        assert file.json_metadata("stillmotion") == {"num_frames": 14}
        assert TensorFile.of_tensors(Path("builtin"), CONTENT).metadata == {}


class TestJsonMetadata:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ('{"num_frames": 14, "x": [1, {"y": null}]}', {"num_frames": 14, "x": [1, {"y": None}]}),
            ("{}", {}),
            ("[1, 2]", {}),
            ('"text"', {}),
            ("7", {}),
            ("null", {}),
            ("NaN", {}),
            ("{half", {}),
            ("", {}),
            ("[" * 100_000, {}),
            ("1" * 5000, {}),
        ],
        ids=lambda value: str(value)[:12],
    )
    def test_is_an_object_or_nothing(self, text, value):
        file = TensorFile.of_tensors(Path("x"), CONTENT, {"stillmotion": text})
        assert file.json_metadata("stillmotion") == value

    def test_that_is_not_there_is_nothing(self):
        assert TensorFile.of_tensors(Path("x"), CONTENT, METADATA).json_metadata("other") == {}


class TestNoFile:
    def test_missing(self, path):
        assert "there is no file" in refusal(path)

    @pytest.mark.parametrize("name", ["svd", "svd.safetensors", "svd.ckpt"])
    def test_a_folder(self, tmp_path, name):
        (tmp_path / name).mkdir()
        assert "is a folder; give a file in it" in refusal(tmp_path / name)

    @pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
    def test_empty(self, tmp_path, name):
        (tmp_path / name).touch()
        assert "is empty (0 bytes)" in refusal(tmp_path / name)

    def test_unreadable(self, valid, path, monkeypatch):
        path.write_bytes(valid.read_bytes())
        path.chmod(0)
        if os.access(path, os.R_OK):  # root reads everything
            opened = Path.open

            def refuse(self, *arguments, **options):
                if self == path:
                    raise PermissionError(13, "Permission denied", str(path))
                return opened(self, *arguments, **options)

            monkeypatch.setattr(Path, "open", refuse)
        assert "can't be read: Permission denied" in refusal(path)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
    def test_a_pipe_is_neither_read_nor_called_a_folder(self, path):
        os.mkfifo(path)
        assert "folder" not in refusal(path)

    def test_a_name_too_long_for_any_file(self, tmp_path):
        refusal(tmp_path / ("x" * 300 + ".safetensors"))

    @pytest.mark.parametrize("name", ["a\0b.safetensors", "loop.safetensors"])
    def test_a_name_that_leads_nowhere(self, tmp_path, name):
        if name.startswith("loop"):
            (tmp_path / name).symlink_to(tmp_path / name)
        assert "there is no file" in refusal(tmp_path / name)


class TestOtherContents:
    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9559625980\n",
                "git lfs pull",
            ),
            (b"<!DOCTYPE html>\n<html><title>Access denied</title></html>", "a web page"),
            (b"<html>", "a web page"),
            (b"GGUF\x03\x00\x00\x00" + bytes(64), "a GGUF file"),
            (b"PK\x03\x04" + bytes(64), "rename it to .ckpt"),
            (pickle.dumps({"a": [1]}, protocol=2), "rename it to .ckpt"),
            (b"\x89PNG\r\n\x1a\n" + bytes(64), "a PNG picture"),
            (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(64), "a JPEG picture"),
            (b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(64), "a picture or video"),
            (b"not tensors, just some text that somebody wrote", "no safetensors file"),
            (b"abc", "no safetensors file"),
            (bytes(8), "no safetensors file"),
            (bytes(100), "no safetensors file"),
        ],
        ids=lambda value: repr(value)[:24],
    )
    def test_under_the_name_safetensors(self, path, content, what):
        path.write_bytes(content)
        assert what in refusal(path)

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9559625980\n",
                "git lfs pull",
            ),
            (b"<!DOCTYPE html>\n<html></html>", "a web page"),
            (safetensors_bytes({"a": f32(0, 4)}, bytes(4)), ".safetensors"),
        ],
        ids=["lfs", "web page", "safetensors"],
    )
    def test_under_the_name_ckpt(self, tmp_path, content, what):
        (tmp_path / "model.ckpt").write_bytes(content)
        message = refusal(tmp_path / "model.ckpt")
        assert what in message
        assert "code" not in message

    def test_torch_checkpoint_under_the_name_safetensors(self, path):
        torch.save({"a": torch.ones(1)}, path)
        assert "rename it to .ckpt" in refusal(path)

    @pytest.mark.parametrize("header", [{}, {"__metadata__": {"a": "b"}}])
    def test_a_file_without_tensors(self, path, header):
        path.write_bytes(safetensors_bytes(header))
        assert "holds no tensors" in refusal(path)


class TestDamagedSafetensors:
    @pytest.mark.parametrize("lost", [1, 4, 40])
    def test_cut_short_in_the_data(self, path, valid, lost):
        path.write_bytes(valid.read_bytes()[:-lost])
        assert "cut short" in refusal(path)
        assert "download it again" in refusal(path)

    @pytest.mark.parametrize("kept", [1, 3, 7, 8, 9, 40])
    def test_cut_short_in_the_header(self, path, valid, kept):
        path.write_bytes(valid.read_bytes()[:kept])
        assert "download it again" in refusal(path)

    # (written by other tools) one in 256 of 60 + 256·n bytes, "<"
    @pytest.mark.parametrize("length", [128, 384, 60, 316])
    def test_cut_short_whatever_the_length_of_the_header(self, path, length):
        header = json.dumps({"a": f32(0, 400, (100,))}, separators=(",", ":")).encode().ljust(length)
        assert len(header) == length
        path.write_bytes(safetensors_bytes(header, bytes(100)))
        assert "cut short" in refusal(path)

    def test_more_data_than_the_header_says_is_not_called_cut_short(self, path, valid):
        path.write_bytes(valid.read_bytes() + b"more")
        assert "cut short" not in refusal(path)

    @pytest.mark.parametrize(
        "content",
        [
            safetensors_bytes({"a": f32(0, 4)}, bytes(4), length=2**63),
            safetensors_bytes({"a": f32(0, 4)}, bytes(4), length=2**64 - 1),
            safetensors_bytes({"a": f32(0, 4)}, bytes(4), length=200_000_000),
            safetensors_bytes({"a": f32(0, 4)}, bytes(4), length=20),
            safetensors_bytes({"a": f32(-4, 0)}, bytes(4)),
            safetensors_bytes({"a": f32(4, 0)}, bytes(4)),
            safetensors_bytes({"a": f32(0, 2**62)}, bytes(4)),
            safetensors_bytes({"a": f32(0, 4), "b": f32(0, 4)}, bytes(4)),
            safetensors_bytes({"a": f32(0, 4), "b": f32(2, 6)}, bytes(6)),
            safetensors_bytes({"a": f32(0, 4), "b": f32(8, 12)}, bytes(12)),
            safetensors_bytes({"a": f32(0, 4, (2,))}, bytes(4)),
            safetensors_bytes({"a": f32(0, 4, (-1,))}, bytes(4)),
            safetensors_bytes({"a": f32(0, 4, (2**40, 2**40))}, bytes(4)),
            safetensors_bytes({"a": f32(0, 4) | {"dtype": "F31"}}, bytes(4)),
            safetensors_bytes({"a": f32(0, 4) | {"dtype": 5}}, bytes(4)),
            safetensors_bytes({"a": {"dtype": "F32"}}, bytes(4)),
            safetensors_bytes({"a": None}, bytes(4)),
            safetensors_bytes({"a": f32(0, 4), "__metadata__": {"x": 1}}, bytes(4)),
            safetensors_bytes([], bytes(4)),
            safetensors_bytes(b'{"a": \xff\xfe}', bytes(4)),
            safetensors_bytes(b'{"a": ' + b"[" * 10_000, bytes(4)),
        ],
        ids=[
            *("length 2^63", "length 2^64-1", "length 200 MB", "length too short", "negative offset"),
            *("offsets swapped", "huge offset", "same offsets", "overlap", "hole", "shape too large"),
            *("negative shape", "shape overflows", "unknown dtype", "dtype a number", "no offsets"),
            *("tensor null", "metadata a number", "a list", "not UTF-8", "deeply nested"),
        ],
    )
    def test_a_wrong_header(self, path, content):
        path.write_bytes(content)
        assert "download it again" in refusal(path)

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(flips=st.lists(st.tuples(st.integers(0, 2047), st.integers(1, 255)), min_size=1, max_size=6))
    def test_flipped_bytes_give_an_error_in_words_or_a_readable_file(self, folder, valid, flips):
        content = bytearray(valid.read_bytes())
        for position, change in flips:
            content[position % len(content)] ^= change
        damaged = folder / "damaged.safetensors"
        damaged.write_bytes(content)
        try:
            file = TensorFile.open(damaged)
        except CheckpointError as error:
            assert str(damaged) in str(error)
        else:
            for key, shape in file.shapes.items():
                assert tuple(file.read(key).shape) == shape


class Payload:
    """Unpickling it makes a folder: what any code in a file could do."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


# Torch before 1.6 had no float8, and its format has none.
OLD_CONTENT = {key: tensor for key, tensor in CONTENT.items() if tensor.element_size() > 1}
both_formats = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])


class TestTorchCheckpoints:
    @both_formats
    @pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".CKPT"])
    def test_tensors_lie_in_the_file_itself(self, tmp_path, suffix, zipped):
        path = tmp_path / f"model{suffix}"
        content = CONTENT if zipped else OLD_CONTENT
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        file = TensorFile.open(path)
        assert file.shapes == {key: tuple(tensor.shape) for key, tensor in content.items()}
        assert file.dtypes == {key: tensor.dtype for key, tensor in content.items()}
        assert file.size == path.stat().st_size
        assert file.metadata == {}
        assert torch.equal(file.read("matrix"), CONTENT["matrix"])

    @both_formats
    def test_or_in_its_state_dict(self, tmp_path, zipped):
        path = tmp_path / "model.ckpt"
        content = {"state_dict": OLD_CONTENT, "global_step": 7, "optimizer": {"lr": 1e-4}}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        assert set(TensorFile.open(path).shapes) == set(OLD_CONTENT)

    def test_what_is_no_tensor_or_has_no_name_is_left_aside(self, tmp_path):
        path = tmp_path / "model.ckpt"
        torch.save({"a": torch.ones(1), "epoch": 3, 5: torch.ones(1), "state_dict": None}, path)
        assert set(TensorFile.open(path).shapes) == {"a"}

    @linux
    def test_a_zip_archive_is_mapped(self, tmp_path):
        path = tmp_path / "model.ckpt"
        torch.save(CONTENT, path)
        assert mapped_file(TensorFile.open(path).read("matrix")) == str(path)

    @pytest.mark.parametrize("content", [[torch.ones(1)], torch.ones(1), "text", 5, None])
    def test_without_names_it_is_refused(self, tmp_path, content):
        path = tmp_path / "model.ckpt"
        torch.save(content, path)
        assert f"holds a {type(content).__name__}, not named tensors" in refusal(path)

    @pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"state_dict": {}}])
    def test_without_tensors_it_is_refused(self, tmp_path, content):
        path = tmp_path / "model.ckpt"
        torch.save(content, path)
        assert "holds no tensors" in refusal(path)

    @both_formats
    def test_with_a_foreign_class_it_is_refused(self, tmp_path, zipped):
        path = tmp_path / "model.ckpt"
        content = OLD_CONTENT | {"hyper_parameters": argparse.Namespace(rate=1)}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        assert "could run code, so it is refused: convert the file to .safetensors" in refusal(path)

    @pytest.mark.parametrize("how", ["zip", "before torch 1.6", "pickle"])
    def test_code_in_it_never_runs(self, tmp_path, how):
        path, trace = tmp_path / "model.ckpt", tmp_path / "it ran"
        content = {"a": torch.ones(1), "payload": Payload(trace)}
        if how == "pickle":
            path.write_bytes(pickle.dumps({"payload": Payload(trace)}, protocol=2))
        else:
            torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
        assert "refused" in refusal(path)
        assert not trace.exists()
        if how != "pickle":  # the payload does work where it is let
            torch.load(path, weights_only=False)
            assert trace.exists()

    @both_formats
    @pytest.mark.parametrize("kept", [0.02, 0.5, 0.98])
    def test_cut_short(self, tmp_path, zipped, kept):
        path = tmp_path / "model.ckpt"
        torch.save(OLD_CONTENT, path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole))])
        assert "damaged" in refusal(path)

    @both_formats
    @pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of unknown pickle protocols
    def test_flipped_bytes_give_an_error_in_words_or_a_readable_file(self, tmp_path, zipped):
        path = tmp_path / "model.ckpt"
        torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        dice = random.Random(4)
        others = []
        for _ in range(300):
            content = bytearray(whole)
            for _ in range(dice.randint(1, 4)):
                content[dice.randrange(len(content))] = dice.randrange(256)
            path.write_bytes(content)
            try:
                file = TensorFile.open(path)
                assert all(tuple(file.read(key).shape) == shape for key, shape in file.shapes.items())
            except CheckpointError:
                pass
            except Exception as error:
                others.append(repr(error))
        assert others == []
