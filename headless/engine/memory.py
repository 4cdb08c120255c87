"""Estimates of the memory that a clip needs, and the free memory."""

import math
import re
from pathlib import Path

import psutil
import torch

from ...clips.values import plain
from ...svd_model import layerwise

_CGROUP = Path("/sys/fs/cgroup")


def overhead(device: torch.device) -> int:
    """Bytes of a process beyond its tensors: the C library's heap, and the kernels' own memory."""
    return 96 * 2**20 if device.type == "cpu" else 0


def parse_size(text: str) -> int:
    """Bytes of a size such as 6GB, 500 MB, 4GiB or 2.5g; raises ValueError for other texts."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", text.upper())
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"{text!r} is no size; give one such as 6GB, 500MB or 4GiB.")
    base = 1024 if match[3] else 1000
    size = float(match[1]) * base ** "_KMGT".index(match[2] or "_")
    if not 0.5 < size < math.inf:
        raise ValueError(f"{text!r} is {size:g} bytes, which no machine has; give a size such as 6GB.")
    return round(size)


def find_size(size: int | float | str) -> int:
    """Bytes of a size, a number or text, as a whole number; raises ValueError for other values."""
    number = plain(size)
    if isinstance(number, str):
        return parse_size(number)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 1 <= number < math.inf:
        raise ValueError(f"the memory budget is {size!r}; give bytes, or text such as '6GB'.")
    return int(number)


def available(device: torch.device) -> int | None:
    """Free bytes of the device; None where the device can't tell."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own spare
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type in ("cpu", "mps"):
        return min(psutil.virtual_memory().available, _container_limit())
    return None


def for_spilling(processes: int = 1) -> int:
    """Bytes of host memory for tensors that a device has no room for, of one of several processes."""
    return int(layerwise.SHARE_OF_FREE * available(torch.device("cpu"))) // processes


def shortage(needed: int, free: int | None) -> str | None:
    """A warning where the needed bytes exceed the free ones, or None."""
    if free is None or needed <= free:
        return None
    return (
        f"this clip needs about {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free; it "
        f"may fail or be very slow. {REMEDIES}"
    )


REMEDIES = "Fewer frames or a smaller size need less."


def _container_limit() -> float:
    """Bytes left to this process's container, infinity outside of a container (Linux, cgroup v2)."""
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return float(limit) - float(used)  # "max", where there is no limit, is no number
    except (OSError, ValueError):
        return float("inf")
