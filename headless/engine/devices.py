"""Devices and dtypes to compute in, the modes of torch there, and copies without a wait."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import wraps

import torch
from torch import Tensor

from ...svd_model.networks import float8
from ...svd_model.networks.operations import without_autocast

DEVICES = ("cpu", "cuda", "mps", "xpu")
LINEAR_DTYPES = ("float8",)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def find_device(device: str | torch.device | None) -> torch.device:
    """The device of a name, the best one for None; raises ValueError for a missing device."""
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
        if found.type not in DEVICES:
            raise RuntimeError(f"{found.type} is no device to compute on")
        torch.empty(1, dtype=torch.float32, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device {device!s} can't be used here; try {', '.join(DEVICES)}.") from error
    return found


def shares_host_memory(device: torch.device) -> bool:
    """Whether a device computes in the host's own memory, so that nothing can leave one for the other."""
    return device.type in ("cpu", "mps")


def find_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The dtype of a name; for None float32 on the CPU and float16 on other devices, as in the reference."""
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.float16
    return named_dtype("dtype", dtype, DTYPES)


def named_dtype(name: str, dtype: str | torch.dtype, accepted: Mapping[str, torch.dtype]) -> torch.dtype:
    """An accepted dtype, by its name or directly; raises ValueError, naming the option, for another one."""
    if isinstance(dtype, str) and dtype in accepted:
        return accepted[dtype]
    if isinstance(dtype, torch.dtype) and dtype in accepted.values():
        return dtype
    raise ValueError(f"{name} is {dtype!r}; accepted are {', '.join(accepted)}.")


def check_linear_dtype(linear_dtype: str | None, device: torch.device) -> None:
    """Raises ValueError for a type of the linear layers that does not exist, or not on the device."""
    if linear_dtype not in (None, *LINEAR_DTYPES):
        raise ValueError(f"linear_dtype is {linear_dtype}; accepted is {', '.join(LINEAR_DTYPES)}.")
    if linear_dtype is not None and not float8.supported(device):
        raise ValueError(
            f"linear_dtype {linear_dtype} needs an NVIDIA GPU that multiplies it (RTX 40, H100 and "
            f"later), and {device} is none; leave it out."
        )


@contextmanager
def own_modes(device: torch.device) -> Iterator[None]:
    """A context in the reference's modes of torch, whatever the caller's: no gradients, no autocast."""
    # Inference mode would mark new tensors, weights too: nobody could change them outside.
    with torch.inference_mode(False), torch.no_grad(), without_autocast(device):
        yield


def in_own_modes(method):
    """Decorates a method of a pipeline: runs it in own_modes of the pipeline's device."""

    @wraps(method)
    def call(self, *args, **options):
        with own_modes(self.device):
            return method(self, *args, **options)

    return call


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Copies a CPU tensor to the device; neither the program nor the device's queue waits."""
    if device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)  # from pageable memory the copy would wait
