"""Camera poses from a JSON file."""

import json
from pathlib import Path

from ...clips.values import plain
from .sources import existing

LARGEST_FILE = 2**20
"""Bytes of a file of poses at the most; 1024 poses take about a fifth."""

_WANTED = "a list of poses is wanted, such as [[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, -0.1], …]"


def read_poses(path: Path) -> tuple:
    """The poses of a file as tuples; raises ValueError for another content, but checks no pose itself."""
    existing(path)
    if not path.is_file():
        raise ValueError(f"{path} is no file; {_WANTED}.")
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8") if size <= LARGEST_FILE else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} can't be read as text; {_WANTED}.") from error
    if size > LARGEST_FILE:
        raise ValueError(f"{path} has {size:,} bytes, more than {LARGEST_FILE:,}; {_WANTED}.")
    try:
        content = plain(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON; {_WANTED}.") from error
    if not isinstance(content, tuple):
        raise ValueError(f"{path} holds a {type(content).__name__}; {_WANTED}.")
    return content
