"""Storage for frames that do not fit on the device: host memory first, then a memory-mapped file."""

import errno
import mmap
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..networks import kernels
from .memory import in_units

_BLOCK = 2**24


class SpillError(ValueError):
    """A spill file that could not be created; the message says where and why."""


@dataclass(frozen=True)
class SpillSlot:
    """Storage for one frame (C, H, W), off the device."""

    tensor: Tensor
    unmap: Callable[[], None] | None = None  # of a file: frees the page cache that an access filled

    def write(self, rows: slice, frame: Tensor) -> None:
        """Copies rows of a frame in and waits for the copy, since the next reader may be the host."""
        self.tensor[:, rows].copy_(frame)
        if self.unmap:
            self.unmap()

    def read(self, rows: slice, into: Tensor) -> None:
        """Copies rows out; from pinned memory asynchronously."""
        into.copy_(self.tensor[:, rows], non_blocking=self.tensor.is_pinned())
        if self.unmap:
            self.unmap()


class Spill:
    """Allocates slots for frames that do not fit on the device.

    The first `host_memory` bytes are host memory. Further slots are files in `folder`, the system's temporary
    one by default. Where the device's memory is host memory, which the budget bounds, all slots are files.
    Files have no name, or lose it with the process: nothing remains of them, however the process ends.
    """

    def __init__(self, device: torch.device, host_memory: int = 0, folder: Path | str | None = None):
        self._pinned = device.type == "cuda"
        self._layout = kernels.memory_format(device)
        if device.type in ("cpu", "mps"):  # whose memory is the host's
            host_memory = 0
        # torch allocates pinned memory in powers of two: up to twice the bytes of a request.
        self._host_memory = host_memory // 2 if self._pinned else host_memory
        self._folder = folder

    def slots(self, count: int, shape: tuple[int, ...], dtype: torch.dtype) -> list[SpillSlot]:
        """Allocates `count` slots for frames of a shape (C, H, W). Raises SpillError if the disk is full."""
        size = torch.Size(shape).numel() * dtype.itemsize
        in_memory = min(count, self._host_memory // size)
        self._host_memory -= in_memory * size
        factory = {"dtype": dtype, "device": "cpu", "pin_memory": self._pinned}
        slots = [SpillSlot(torch.empty(shape, **factory)) for _ in range(in_memory)]
        if count > in_memory:
            slots += _mapped(count - in_memory, shape, dtype, size, self._folder)
        if self._layout == torch.channels_last:
            channels, *size = shape
            slots = [replace(s, tensor=s.tensor.view(*size, channels).movedim(-1, 0)) for s in slots]
        return slots

    def release(self, slots: list[SpillSlot]) -> None:
        """Counts the slots' host memory as free; the caller must not use them any more."""
        self._host_memory += sum(slot.tensor.nbytes for slot in slots if slot.unmap is None)


def _mapped(
    count: int, shape: tuple[int, ...], dtype: torch.dtype, size: int, folder: Path | str | None
) -> list[SpillSlot]:
    """Slots of `size` bytes in one new file, whose disk space is reserved at once."""
    stride = -(-size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
    total = count * stride
    try:
        with tempfile.TemporaryFile(dir=folder, prefix="stillmotion-") as file:
            _reserve(file, total)
            mapped = mmap.mmap(file.fileno(), total)
    except OSError as error:
        where = folder or tempfile.gettempdir()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = "the disk is full" if full else (error.strerror or error)
        raise SpillError(
            f"{in_units(total)} of scratch space can't be had in {where} ({reason}): free some, name another "
            "folder, or raise the memory budget."
        ) from error
    numbers = size // dtype.itemsize
    return [
        SpillSlot(
            torch.frombuffer(mapped, dtype=dtype, count=numbers, offset=i * stride).view(shape),
            lambda offset=i * stride: _unmap(mapped, offset, stride),
        )
        for i in range(count)
    ]


def _reserve(file, size: int) -> None:
    """Reserves disk space: a disk that fills up while the map is written would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, _BLOCK):
        file.write(bytes(min(_BLOCK, size - start)))
    file.flush()


def _unmap(mapped: mmap.mmap, offset: int, length: int) -> None:
    """Drops the pages from the process's memory; their contents stay in the file."""
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED, offset, length)
