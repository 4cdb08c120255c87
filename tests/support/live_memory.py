"""Bytes of live tensors, which do not depend on an allocator."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """Context in which `peak` is the largest sum of bytes of live tensors that it has allocated."""

    def __init__(self):
        super().__init__()
        self.peak = 0
        self._alive = 0
        self._counted = set()

    @property
    def alive(self) -> int:
        """Live bytes that were allocated in the context."""
        return self._alive

    def restart(self) -> None:
        """Restarts the peak from the live bytes."""
        self.peak = self._alive

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            self._count(tensor, allocated_here=False)  # tensors from outside, such as weights
        result = function(*args, **kwargs)
        for tensor in _tensors(result):
            if not tensor.is_meta:
                self._count(tensor, allocated_here=True)
        return result

    def _count(self, tensor: torch.Tensor, allocated_here: bool) -> None:
        if tensor.is_mkldnn:  # oneDNN's packed weights expose no storage
            storage, key, size = tensor, id(tensor), tensor.numel() * tensor.dtype.itemsize
        else:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
        self._add(storage, key, size if allocated_here else 0)

    def _add(self, storage, key: int, size: int) -> None:
        if key in self._counted:
            return
        self._counted.add(key)
        self._alive += size
        self.peak = max(self.peak, self._alive)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._counted.discard(key)
        self._alive -= size


class MemoryLimit(LiveMemory):
    """Context in which more live bytes than the limit raise OutOfMemoryError."""

    def __init__(self, limit: int):
        super().__init__()
        self._limit = limit

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = super().__torch_dispatch__(function, types, args, kwargs)
        if self._alive > self._limit:
            raise torch.OutOfMemoryError("out of memory (made by a test)")
        return result


def _tensors(tree) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
