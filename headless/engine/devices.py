"""Devices to compute on, in modes of their own, and copies that a program does not wait for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import wraps

import torch
from torch import Tensor, nn

from ...svd_model.networks.operations import without_autocast

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
        torch.empty(1, dtype=torch.float32, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device {device!s} can't be used here; try {', '.join(DEVICES)}.") from error
    return found


def find_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The dtype named, or float32 on the CPU and float16 elsewhere, as the reference computes."""
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.float16
    return named_dtype("dtype", dtype, DTYPES)


def named_dtype(name: str, dtype: str | torch.dtype, accepted: Mapping[str, torch.dtype]) -> torch.dtype:
    """One of the accepted dtypes, by its name or itself; raises ValueError naming the option for another."""
    if isinstance(dtype, str) and dtype in accepted:
        return accepted[dtype]
    if isinstance(dtype, torch.dtype) and dtype in accepted.values():
        return dtype
    raise ValueError(f"{name} is {dtype!r}; accepted are {', '.join(accepted)}.")


@contextmanager
def own_modes(device: torch.device) -> Iterator[None]:
    """Within it the device computes as the reference does, whatever modes of torch the caller is in."""
    # Inference mode would mark what is made in it, weights too: no one could change it outside.
    with torch.inference_mode(False), torch.no_grad(), without_autocast(device):
        yield


def in_own_modes(method):
    """A method of a pipeline, computing as the pipeline does whatever modes of torch the caller is in."""

    @wraps(method)
    def call(self, *given, **options):
        with own_modes(self.device):
            return method(self, *given, **options)

    return call


def loaded_once(load):
    """A network of a pipeline: loaded at its first use, by whichever of several threads comes first."""

    @wraps(load)
    def network(self) -> nn.Module:
        with self._loading:
            if load.__name__ not in self._networks:
                with own_modes(self.device):
                    self._networks[load.__name__] = load(self)
            return self._networks[load.__name__]

    return property(network)


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device, copied while the device goes on with what it has to do."""
    if device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)  # a copy of pageable memory would wait
