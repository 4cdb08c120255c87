"""Hashes of files of any size."""

import hashlib
from collections.abc import Callable
from pathlib import Path

_BLOCK = 2**24


def sha256(path: Path, what: str, progress: Callable[[str, int, int], object]) -> str:
    """SHA-256 of a file; progress: called with "hashing …", the bytes so far and all bytes."""
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            progress(f"hashing {what}", file.tell(), size)
    return digest.hexdigest()
