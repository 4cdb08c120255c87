"""The frames of a clip between two layers: some on the device, the others spilled."""

import torch
from torch import Tensor

from ..networks import kernels
from .moments import Moments
from .spill import Spill, SpillSlot


class Frames:
    """T frames (C, H, W): the first `num_on_device` on the device, the others in slots of a Spill.

    With `in_one_tensor` all frames are on the device in one tensor, and reading returns views of it.
    """

    def __init__(
        self,
        num_frames: int,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        device: torch.device,
        num_on_device: int,
        spill: Spill,
        in_one_tensor: bool = False,
    ):
        self.shape, self.dtype, self.device = shape, dtype, device
        self.moments: Moments | None = None  # of each frame, (T, groups), set once all frames are written
        self._frames: list[Tensor | SpillSlot | None] = [None] * num_frames
        self._num_on_device = num_on_device
        self._spill = spill
        self._unused_slots: list[SpillSlot] = []
        self._slots: list[SpillSlot] = []
        self.one_tensor: Tensor | None = None  # (T, C, H, W)
        if in_one_tensor:
            self.one_tensor = kernels.empty((num_frames, *shape), self.like)
            self._frames = list(self.one_tensor)

    @property
    def like(self) -> Tensor:
        """An empty tensor on the device and in the dtype of the frames."""
        return torch.empty(0, dtype=self.dtype, device=self.device)

    def __len__(self) -> int:
        return len(self._frames)

    def move(self, num_on_device: int, in_one_tensor: bool = False) -> None:
        """Changes how many frames may stay on the device, and spills the frames beyond that number.

        Frames that must leave their one tensor are all spilled, since each is a view that keeps it alive.
        """
        if self.one_tensor is not None:
            if in_one_tensor:
                return
            for index, frame in enumerate(self._frames):
                if isinstance(frame, Tensor):
                    self._write_to_slot(index, frame)
            self.one_tensor = None
        self._num_on_device = num_on_device
        for index in range(num_on_device, len(self)):
            if isinstance(self._frames[index], Tensor):
                self.write(index, self._frames[index])

    def write(self, index: int, frame: Tensor) -> None:
        """Replaces a frame, (C, H, W); on the device without a copy, if the tensor owns its memory."""
        previous = self._frames[index]
        if index < self._num_on_device:
            # A view of a group of frames would keep the whole group alive.
            owns_memory = frame.untyped_storage().nbytes() == frame.nbytes
            self._frames[index] = frame if owns_memory else frame.clone()
            if isinstance(previous, SpillSlot):
                self._unused_slots.append(previous)
            return
        self._write_to_slot(index, frame)

    def _write_to_slot(self, index: int, frame: Tensor) -> None:
        previous = self._frames[index]
        slot = previous if isinstance(previous, SpillSlot) else self._unused_slot()
        slot.write(slice(None), frame)
        self._frames[index] = slot

    def write_rows(self, rows: slice, band: Tensor) -> None:
        """Replaces a band of rows of all frames, (T, C, rows, W)."""
        for frame, part in zip(self._frames, band, strict=True):
            if isinstance(frame, SpillSlot):
                frame.write(rows, part)
            else:
                frame[:, rows] = part

    def read(self, indices: range, to_write: bool = True) -> Tensor:
        """Returns some frames on the device, (len(indices), C, H, W).

        The result is a copy, unless the frames are in one tensor and the caller won't write to it.
        """
        if self.one_tensor is not None:
            frames = self.one_tensor[indices.start : indices.stop]
            return frames.clone() if to_write else frames
        return self._gather([self._frames[index] for index in indices], slice(None))

    def read_rows(self, rows: slice) -> Tensor:
        """Returns a band of rows of all frames, (T, C, rows, W): a view of the one tensor, or a copy."""
        if self.one_tensor is not None:
            return self.one_tensor[:, :, rows]
        return self._gather(self._frames, rows)

    def drop(self, index: int) -> None:
        """Frees a frame that is not needed any more."""
        self._frames[index] = None

    def close(self) -> None:
        """Frees all frames and their slots."""
        self._frames, self.one_tensor = [], None
        self._spill.release(self._slots)
        self._slots = self._unused_slots = []

    def _gather(self, frames: list[Tensor | SpillSlot | None], rows: slice) -> Tensor:
        height = len(range(self.shape[1])[rows])
        shape = (len(frames), self.shape[0], height, self.shape[2])
        layout = kernels.memory_format(self.device)
        result = torch.empty(shape, dtype=self.dtype, device=self.device, memory_format=layout)
        for into, frame in zip(result, frames, strict=True):
            if isinstance(frame, SpillSlot):
                frame.read(rows, into)
            else:
                into.copy_(frame[:, rows])
        return result

    def _unused_slot(self) -> SpillSlot:
        """A free slot; the first call allocates slots for all frames that do not stay on the device."""
        if not self._unused_slots:
            spilled = sum(isinstance(frame, SpillSlot) for frame in self._frames)
            staying = self._num_on_device if self.one_tensor is None else 0
            count = max(1, len(self) - staying - spilled)
            self._unused_slots = self._spill.slots(count, self.shape, self.dtype)
            self._slots += self._unused_slots
        return self._unused_slots.pop()
