"""The frames of a clip between two layers: some on the device, the rest spilled."""

import torch
from torch import Tensor

from ..networks import kernels
from .moments import Moments
from .spill import Scratch, Slot


class Frames:
    """T tensors (C, H, W): the first `resident` are kept on the device, the others in slots of a Scratch.

    `whole`: all are kept on the device, in one tensor, of which what is taken is a view.
    """

    def __init__(
        self,
        num_frames: int,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        device: torch.device,
        resident: int,
        scratch: Scratch,
        whole: bool = False,
    ):
        self.shape, self.dtype, self.device = shape, dtype, device
        self.moments: Moments | None = None  # of each frame, (T, groups), once they are known
        self._frames: list[Tensor | Slot | None] = [None] * num_frames
        self._resident = resident
        self._scratch = scratch
        self._unused: list[Slot] = []
        self._slots: list[Slot] = []
        self.store: Tensor | None = None  # all frames, (T, C, H, W), while they are kept whole
        if whole:
            self.store = kernels.empty((num_frames, *shape), self.like)
            self._frames = list(self.store)

    @property
    def like(self) -> Tensor:
        """An empty tensor on the device and in the dtype of the frames."""
        return torch.empty(0, dtype=self.dtype, device=self.device)

    def __len__(self) -> int:
        return len(self._frames)

    def reside(self, resident: int, whole: bool = False) -> None:
        """Changes how many frames stay on the device; those that may no longer are moved.

        All are, where they were kept whole and may no longer be.
        """
        if self.store is not None:
            if whole:
                return
            for index, frame in enumerate(self._frames):
                if isinstance(frame, Tensor):
                    self._spill(index, frame)
            self.store = None
        self._resident = resident
        for index in range(resident, len(self)):
            if isinstance(self._frames[index], Tensor):
                self.put(index, self._frames[index])

    def put(self, index: int, frame: Tensor) -> None:
        """Stores a frame, (C, H, W), in place of an older one; on the device, kept as it is."""
        old = self._frames[index]
        if index < self._resident:
            # A view of a group of frames would keep the whole group alive.
            alone = frame.untyped_storage().nbytes() == frame.nbytes
            self._frames[index] = frame if alone else frame.clone()
            if isinstance(old, Slot):
                self._unused.append(old)
            return
        self._spill(index, frame)

    def _spill(self, index: int, frame: Tensor) -> None:
        old = self._frames[index]
        slot = old if isinstance(old, Slot) else self._slot()
        slot.write(slice(None), frame)
        self._frames[index] = slot

    def put_rows(self, rows: slice, band: Tensor) -> None:
        """Stores a band of rows of all frames, (T, C, rows, W)."""
        for frame, part in zip(self._frames, band, strict=True):
            if isinstance(frame, Slot):
                frame.write(rows, part)
            else:
                frame[:, rows] = part

    def take(self, indices: range, to_write: bool = True) -> Tensor:
        """Some frames on the device, (len(indices), C, H, W): a copy where it is `to_write`."""
        if self.store is not None:
            frames = self.store[indices.start : indices.stop]
            return frames.clone() if to_write else frames
        return self._gather([self._frames[index] for index in indices], slice(None))

    def take_rows(self, rows: slice) -> Tensor:
        """A band of rows of all frames on the device, (T, C, rows, W): a copy where they are not whole."""
        if self.store is not None:
            return self.store[:, :, rows]
        return self._gather(self._frames, rows)

    def drop(self, index: int) -> None:
        """Lets go of a frame that is not needed any more."""
        self._frames[index] = None

    def close(self) -> None:
        """Lets go of everything."""
        self._frames, self.store = [], None
        self._scratch.give_back(self._slots)
        self._slots = self._unused = []

    def _gather(self, frames: list[Tensor | Slot | None], rows: slice) -> Tensor:
        height = len(range(self.shape[1])[rows])
        shape = (len(frames), self.shape[0], height, self.shape[2])
        layout = kernels.memory_format(self.device)
        result = torch.empty(shape, dtype=self.dtype, device=self.device, memory_format=layout)
        for into, frame in zip(result, frames, strict=True):
            if isinstance(frame, Slot):
                frame.read(rows, into)
            else:
                into.copy_(frame[:, rows])
        return result

    def _slot(self) -> Slot:
        """Room for one frame, out of that for all which may not be resident."""
        if not self._unused:
            spilled = sum(isinstance(frame, Slot) for frame in self._frames)
            staying = self._resident if self.store is None else 0
            count = max(1, len(self) - staying - spilled)
            self._unused = self._scratch.slots(count, self.shape, self.dtype)
            self._slots += self._unused
        return self._unused.pop()
