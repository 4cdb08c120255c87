"""Counts the bytes of the tensors that are alive, which no allocator's habits blur."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """Within it, `peak` is the largest sum of bytes of tensors made within it and alive at one time."""

    def __init__(self):
        super().__init__()
        self.peak = 0
        self._alive = 0
        self._known = set()

    def restart(self) -> None:
        """Forgets the peak so far."""
        self.peak = self._alive

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            self._count(tensor, made=False)  # made outside, such as weights
        result = function(*args, **kwargs)
        for tensor in _tensors(result):
            self._count(tensor, made=True)
        return result

    def _count(self, tensor: torch.Tensor, made: bool) -> None:
        if tensor.is_mkldnn:  # weights as oneDNN arranges them, which show no storage
            storage, key, size = tensor, id(tensor), tensor.numel() * tensor.dtype.itemsize
        else:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
        self._add(storage, key, size if made else 0)

    def _add(self, storage, key: int, size: int) -> None:
        if key in self._known:
            return
        self._known.add(key)
        self._alive += size
        self.peak = max(self.peak, self._alive)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._alive -= size


class MemoryLimit(LiveMemory):
    """Within it, tensors can't be alive in more than that many bytes: more runs out of memory."""

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
