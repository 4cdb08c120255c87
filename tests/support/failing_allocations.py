"""Operations of torch that fail like an allocation on the device."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class FailingAllocations(TorchDispatchMode):
    """Context in which the operations with these numbers, from 0, raise OutOfMemoryError."""

    def __init__(self, *numbers: int):
        super().__init__()
        self.count = 0
        self.names: list[str] = []
        self._numbers = set(numbers)

    def fail_next(self) -> None:
        """Makes the next operation fail, too."""
        self._numbers.add(self.count)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        self.names.append(function.name())
        if self.count - 1 in self._numbers:
            raise torch.OutOfMemoryError("out of memory (made by a test)")
        return function(*args, **(kwargs or {}))
