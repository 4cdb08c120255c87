"""The frames of a clip between two layers: some on the device, the others spilled."""

from torch import Tensor

from ..networks import kernels
from .spill import Spill

ALL_ROWS = slice(None)


class Frames:
    """T frames (C, H, W): the first ones in one tensor on the device, the others in slots of a Spill."""

    def __init__(self, num_frames: int, on_device: int, shape: tuple[int, ...], like: Tensor, spill: Spill):
        self._resident = kernels.empty((on_device, *shape), like)
        self._spill = spill
        self._slots = spill.slots(num_frames - on_device, shape, like.dtype)

    @property
    def on_device(self) -> int:
        """Number of frames on the device."""
        return len(self._resident)

    def view(self, frames: slice, rows: slice = ALL_ROWS) -> Tensor | None:
        """A view, (N, C, rows, W), of rows of some frames; None unless all of them are on the device."""
        return self._resident[frames, :, rows] if frames.stop <= self.on_device else None

    def read(self, frames: slice, rows: slice = ALL_ROWS) -> Tensor:
        """A copy on the device, (N, C, rows, W), of rows of some frames."""
        resident = self._resident[frames, :, rows]
        shape = (frames.stop - frames.start, *resident.shape[1:])
        result = kernels.empty(shape, resident)
        result[: len(resident)] = resident
        for slot, into in zip(self._slots_of(frames), result[len(resident) :], strict=True):
            slot.read(rows, into)
        return result

    def peek(self, frames: slice, rows: slice = ALL_ROWS) -> Tensor:
        """Rows of some frames, (N, C, rows, W), only to be read: a view, or a copy of spilled ones."""
        view = self.view(frames, rows)
        return self.read(frames, rows) if view is None else view

    def write(self, frames: slice, x: Tensor, rows: slice = ALL_ROWS) -> None:
        """Replaces rows of some frames by x, (N, C, rows, W). A write may be repeated after a failure."""
        resident = self._resident[frames, :, rows]
        resident.copy_(x[: len(resident)])
        for slot, frame in zip(self._slots_of(frames), x[len(resident) :], strict=True):
            slot.write(rows, frame)

    def leave_device(self) -> None:
        """Spills all frames."""
        slots = self._spill.slots(self.on_device, self._resident.shape[1:], self._resident.dtype)
        for slot, frame in zip(slots, self._resident, strict=True):
            slot.write(ALL_ROWS, frame)
        self._slots = [*slots, *self._slots]
        self._resident = kernels.empty((0, *self._resident.shape[1:]), self._resident)

    def close(self) -> None:
        """Frees all frames and their slots."""
        self._spill.release(self._slots)
        self._slots, self._resident = [], None

    def _slots_of(self, frames: slice) -> list:
        start, stop = (max(0, index - self.on_device) for index in (frames.start, frames.stop))
        return self._slots[start:stop]
