"""Camera poses from a JSON file."""

from pathlib import Path

from ...clips.values import plain
from ...svd_model.checkpoint.json_files import read_json
from .sources import existing

LARGEST_FILE = 2**20
"""Bytes of a file of poses at the most; 1024 poses take about a fifth."""

_WANTED = "a list of poses is wanted, such as [[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, -0.1], …]"


def read_poses(path: Path) -> tuple:
    """The poses of a file as tuples; raises ValueError for another content, but checks no pose itself."""
    return plain(read_json(existing(path), list, LARGEST_FILE, _WANTED))
