"""Which part of a file the system holds in memory, and having it forget the file."""

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path


def drop(paths: Sequence[Path]) -> float:
    """Asks the system to forget those files; the share of them that it still holds, from 0 to 1."""
    if not hasattr(os, "posix_fadvise"):
        return 1.0
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
    held, total = (sum(counts) for counts in zip(*(_pages(path) for path in paths), strict=True))
    return held / total


def _pages(path: Path) -> tuple[int, int]:
    """How many of its pages are in memory, and how many there are."""
    size = path.stat().st_size
    count = -(-size // mmap.PAGESIZE)
    states = (ctypes.c_ubyte * count)()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        library = ctypes.CDLL(None, use_errno=True)
        failed = library.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), states)
    if failed:
        return count, count
    return sum(state & 1 for state in bytes(states)), count
