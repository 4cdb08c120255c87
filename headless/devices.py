"""Devices to compute on, and copies that a program does not wait for."""

import torch
from torch import Tensor

DEVICES = ("cpu", "cuda", "mps", "xpu")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def find_device(device: str | torch.device | None) -> torch.device:
    """The device named, or the best there is; raises ValueError for one that is not there."""
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
        if found.type not in DEVICES:
            raise RuntimeError(f"{found.type} is no device to compute on")
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!s} can't be used here; try {', '.join(DEVICES)}.") from error
    return found


def find_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The dtype named, or float32 on the CPU and float16 elsewhere, as the reference computes."""
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.float16
    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; accepted are {', '.join(DTYPES)}.")
        return DTYPES[dtype]
    return dtype


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device, copied while the device goes on with what it has to do."""
    if device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)  # a copy of pageable memory would wait
