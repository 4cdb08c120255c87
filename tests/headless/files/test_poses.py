"""Files of camera poses: what they hold, and what is said of other files."""

import json
import os

import pytest

from stillmotion.headless.files.poses import LARGEST_FILE, read_poses

NEUTRAL = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]


def test_poses_are_read_in_either_form(tmp_path):
    path = tmp_path / "track.json"
    path.write_text(json.dumps([NEUTRAL, [NEUTRAL[:4], NEUTRAL[4:8], NEUTRAL[8:]]]))
    nested = tuple(map(tuple, (NEUTRAL[:4], NEUTRAL[4:8], NEUTRAL[8:])))
    assert read_poses(path) == (tuple(NEUTRAL), nested)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is no JSON; a list of poses is wanted, such as \[\[1, 0, 0"),
        (b"{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"poses": []}', "holds a dict; a list of poses is wanted"),
        (b"12", "holds a int"),
        (b"\xff\xfe", "is no JSON"),
        (b" " * (LARGEST_FILE + 1), "has 1,048,577 bytes, more than 1,048,576"),
    ],
)
def test_another_content_is_refused(tmp_path, content, message):
    path = tmp_path / "track.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_poses(path)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path):
    (tmp_path / "track.json").write_text("[]")
    with pytest.raises(ValueError, match=r"no such file; did you mean track\.json"):
        read_poses(tmp_path / "trak.json")
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")  # which would be waited for
    for name in ("folder.json", "pipe.json"):
        with pytest.raises(ValueError, match="is no file; a list of poses is wanted"):
            read_poses(tmp_path / name)
