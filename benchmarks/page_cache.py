"""The page cache of the system: dropping files from it, and the share that stays."""

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path


def drop(paths: Sequence[Path]) -> float:
    """Drops files from the page cache; returns the share of their pages that stays, 0 to 1."""
    if not hasattr(os, "posix_fadvise"):
        return 1.0
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
    cached, total = (sum(counts) for counts in zip(*(_pages(path) for path in paths), strict=True))
    return cached / total


def _pages(path: Path) -> tuple[int, int]:
    """Counts a file's pages in memory, and all of its pages."""
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
