"""Makes torch's operations fail as an allocation on the device does."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class FailingAllocations(TorchDispatchMode):
    """Within it, the operations with these numbers (from 0) raise an out-of-memory instead of running."""

    def __init__(self, *numbers: int):
        super().__init__()
        self.count = 0
        self._numbers = set(numbers)

    def fail_next(self) -> None:
        """Has the next operation fail too."""
        self._numbers.add(self.count)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        if self.count - 1 in self._numbers:
            raise torch.OutOfMemoryError("out of memory (made by a test)")
        return function(*args, **(kwargs or {}))
