"""JSON files: what they hold, and what is said of other files."""

import os

import pytest

from stillmotion.svd_model.checkpoint.json_files import read_json
from support.refusals import refusal


def test_an_object_or_a_list_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"ä": [1]}', encoding="utf-8")
    assert read_json(tmp_path / "a.json", dict, 12, "…") == {"ä": [1]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[1]", "holds a list"),
        (b"null", "holds a NoneType"),
        (b" " * 100_001, "has 100,001 bytes, more than 100,000"),
    ],
)
def test_another_content_is_refused(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    with refusal("a.json", words, "; copy it again."):
        read_json(tmp_path / "a.json", dict, 100_000, "copy it again")


def test_a_folder_a_pipe_and_nothing_are_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe", "nothing"):
        with refusal(name, "is no file"):
            read_json(tmp_path / name, dict, 1, "name another")
