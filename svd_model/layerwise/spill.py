"""Room for frames that the device has no room for: host memory first, then a memory-mapped file."""

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


class ScratchError(ValueError):
    """The file that frames are spilled to can't be made; the message says where and why."""


@dataclass(frozen=True)
class Slot:
    """Room for one frame, off the device."""

    tensor: Tensor
    let_go: Callable[[], None] | None = None  # of the memory that reading or writing took, for files

    def write(self, rows: slice, frame: Tensor) -> None:
        """Copies those rows of a frame in, and waits for it: who reads next may do so on the host."""
        self.tensor[:, rows].copy_(frame)
        if self.let_go:
            self.let_go()

    def read(self, rows: slice, into: Tensor) -> None:
        """Copies those rows out; from pinned memory the copy may still be under way."""
        into.copy_(self.tensor[:, rows], non_blocking=self.tensor.is_pinned())
        if self.let_go:
            self.let_go()


class Scratch:
    """Hands out room for frames that the device has no room for.

    Host memory up to `host_memory` bytes (none where the device's memory is the host's, which the budget
    bounds), then files in `folder`, the system's temporary one by default. The files have no name, or lose it
    with the process: nothing is left of them, however it ends.
    """

    def __init__(self, device: torch.device, host_memory: int = 0, folder: Path | str | None = None):
        self._pinned = device.type == "cuda"
        self._layout = kernels.memory_format(device)
        if device.type in ("cpu", "mps"):  # whose memory is the host's
            host_memory = 0
        # torch takes pinned memory in powers of two: up to twice as much as is asked for.
        self._host_memory = host_memory // 2 if self._pinned else host_memory
        self._folder = folder

    def slots(self, count: int, shape: tuple[int, ...], dtype: torch.dtype) -> list[Slot]:
        """Room for that many frames; raises ScratchError where the disk has not enough."""
        size = torch.Size(shape).numel() * dtype.itemsize
        in_memory = min(count, self._host_memory // size)
        self._host_memory -= in_memory * size
        factory = {"dtype": dtype, "device": "cpu", "pin_memory": self._pinned}
        slots = [Slot(torch.empty(shape, **factory)) for _ in range(in_memory)]
        if count > in_memory:
            slots += _mapped(count - in_memory, shape, dtype, size, self._folder)
        if self._layout == torch.channels_last:
            channels, *size = shape
            slots = [replace(s, tensor=s.tensor.view(*size, channels).movedim(-1, 0)) for s in slots]
        return slots

    def give_back(self, slots: list[Slot]) -> None:
        """Counts host memory as free again; the slots must not be used any more."""
        self._host_memory += sum(slot.tensor.nbytes for slot in slots if slot.let_go is None)


def _mapped(
    count: int, shape: tuple[int, ...], dtype: torch.dtype, size: int, folder: Path | str | None
) -> list[Slot]:
    """Slots in one new file, whose room on the disk is taken before it is used."""
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
        raise ScratchError(
            f"{in_units(total)} of scratch space can't be had in {where} ({reason}): free some, name another "
            "folder, or raise the memory budget."
        ) from error
    numbers = size // dtype.itemsize
    return [
        Slot(
            torch.frombuffer(mapped, dtype=dtype, count=numbers, offset=i * stride).view(shape),
            lambda offset=i * stride: _let_go(mapped, offset, stride),
        )
        for i in range(count)
    ]


def _reserve(file, size: int) -> None:
    """Takes the room on the disk: a full one found later, while writing to the map, would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, _BLOCK):
        file.write(bytes(min(_BLOCK, size - start)))
    file.flush()


def _let_go(mapped: mmap.mmap, offset: int, length: int) -> None:
    """Unmaps the pages from this process; what was written stays in the file."""
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED, offset, length)
