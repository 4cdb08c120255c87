"""A rehearsed GPU: for tensors on "cuda" only shapes, dtypes and devices are computed, no numbers.

Needs a CUDA build of torch, but no driver and no card. An operation that mixes devices or dtypes raises as on
a card. Tensors on the CPU are computed as usual, so that a schedule has its numbers.
"""

import json
import tempfile
import traceback
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from . import full_size

aten = torch.ops.aten
_SCALARS = (aten._local_scalar_dense.default, aten.is_nonzero.default)
_NO_KERNEL = ("prim::device", "aten::empty", "aten::empty_like", "aten::new_empty", "aten::empty_strided")
_NO_KERNEL = (*_NO_KERNEL, "aten::new_empty_strided", "aten::_unsafe_view", "aten::_reshape_alias")


class Ledger(TorchDispatchMode):
    """Counter of a GPU's kernels, the bytes that they read and write, live bytes and the host's waits.

    `free`: bytes that the card reports as free.
    """

    def __init__(self, free: int):
        super().__init__()
        self.free = free
        self.kernels = self.traffic = self.alive = self.peak = 0
        self.waits: list[list[str]] = []  # the stack of each wait, as "file.py:function"
        self._counted: dict[int, int] = {}  # bytes by storage; 0 for storages older than the count
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        inputs = _on_gpu((args, kwargs))
        if function in _SCALARS and isinstance(args[0], FakeTensor):
            if inputs:
                self._wait()
            return True if args[0].dtype == torch.bool else 1
        if function == aten._pin_memory.default:
            return args[0]  # has no effect without a card
        if kwargs.get("pin_memory"):  # for what the card has no room for; it takes no memory here either
            with self._fake:
                return function(*args, **kwargs | {"pin_memory": False})
        if not _is_fake((args, kwargs)) and torch.device(kwargs.get("device") or "cpu").type != "cuda":
            return function(*args, **kwargs)
        if function == aten.native_batch_norm.out:  # a fake one would allocate its results once more
            result = tuple(kwargs[name] for name in ("out", "save_mean", "save_invstd"))
            inputs = inputs[: -len(result)]
        else:
            with self._fake:
                result = function(*args, **kwargs)
        outputs = _on_gpu(result)
        if function == aten._to_copy.default and not kwargs.get("non_blocking"):
            source, target = args[0], result
            if source.device.type != target.device.type:
                self._wait()
        if (
            not function.is_view
            and function.name().partition(".")[0] not in _NO_KERNEL
            and (inputs or outputs)
        ):
            self.kernels += 1
            self.traffic += sum(tensor.nbytes for tensor in (*inputs, *outputs))
        for tensor in outputs:
            self._count(tensor)
        if function == aten.convolution.default:  # cuDNN computes in another layout, in copies
            self.peak = max(self.peak, self.alive + args[0].nbytes + result.nbytes)
        return result

    def restart(self) -> None:
        """Restarts the count; live tensors, such as weights, count as 0 bytes."""
        self.kernels = self.traffic = self.peak = self.alive = 0
        self.waits.clear()
        self._counted = dict.fromkeys(self._counted, 0)

    def _wait(self) -> None:
        frames = traceback.extract_stack()
        self.waits.append([f"{frame.filename.rsplit('/', 1)[-1]}:{frame.name}" for frame in frames])

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._counted:
            return
        self._counted[key] = storage.nbytes()
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.alive -= self._counted.pop(key)


def _fused_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **defaults) -> torch.Tensor:
    """Calls one of the fused kernels; torch would ask the driver which."""
    return aten._scaled_dot_product_efficient_attention(q, k, v, None, False)[0]


def _statistics(x: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and inverse deviation of each channel, in float32: torch has no fake form of this operator."""
    rstd, mean = torch.var_mean(x[0], -1)
    return mean.float(), rstd.float()


class _Event:
    """An event that is always complete."""

    def record(self) -> None:
        """Does nothing: no kernel is running."""

    def synchronize(self) -> None:
        """Does nothing: there is nothing to wait for."""


@contextmanager
def rehearsed(free: int) -> Iterator[Ledger]:
    """Context in which "cuda" is a rehearsed Hopper card with a number of free bytes."""
    ledger = Ledger(free)
    with (
        mock.patch("torch.cuda._lazy_init", lambda: None),
        mock.patch("torch.nn.functional.scaled_dot_product_attention", _fused_attention),
        mock.patch("torch.batch_norm_stats", _statistics),
        mock.patch("torch.cuda.get_device_capability", lambda device=None: (9, 0)),
        mock.patch("torch.cuda.mem_get_info", lambda device=None: (ledger.free, free)),
        mock.patch("torch.cuda.memory_reserved", lambda device=None: 0),
        mock.patch("torch.cuda.memory_allocated", lambda device=None: 0),
        mock.patch("torch.cuda.empty_cache", lambda: None),
        mock.patch("torch.cuda.Event", _Event),
        ledger,
    ):
        torch.empty(1, device="cuda")  # the first tensor tells torch's C++ side that there is a card
        yield ledger


@contextmanager
def full_size_checkpoint() -> Iterator:
    """Context with a Checkpoint of svd_xt at full size, of zeros in float16 that take no disk."""
    from stillmotion.svd_model.checkpoint import Checkpoint

    keys = Path(__file__).parent.parent / "golden" / "keys_svd_xt.json"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "svd_xt.safetensors"
        full_size.save_sparse(path, json.loads(keys.read_text()), torch.float16)
        checkpoint = Checkpoint.open(path)
        checkpoint.file.read(next(iter(checkpoint.file.shapes)))  # maps the file, which is real
        yield checkpoint


def _is_fake(tree) -> bool:
    return any(isinstance(leaf, FakeTensor) for leaf in tree_leaves(tree))


def _on_gpu(tree) -> list[torch.Tensor]:
    return [
        leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor) and leaf.device.type == "cuda"
    ]
