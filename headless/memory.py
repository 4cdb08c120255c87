"""How much memory a clip will need, roughly, and how much there is."""

from pathlib import Path

import psutil
import torch

from ..svd_model.checkpoint import Checkpoint

_CGROUP = Path("/sys/fs/cgroup")


def to_sample(checkpoint: Checkpoint, frames: int, height: int, width: int, dtype: torch.dtype) -> int:
    """Bytes for the weights and the largest activations of sampling latents of that height and width."""
    networks = (checkpoint.unet, checkpoint.encoder, checkpoint.vision)
    weights = sum(network.size for network in networks)
    return weights + checkpoint.unet.params.memory(frames, height, width, dtype)


def to_decode(checkpoint: Checkpoint, frames: int, height: int, width: int, frame_wise: bool) -> int:
    """Bytes for decoding latents of that height and width; the temporal decoder takes all frames at once."""
    together = checkpoint.variant.temporal_decoder and not frame_wise
    params = checkpoint.decoder.params
    activations = params.decode_memory(frames if together else 1, height, width, torch.float32)
    return checkpoint.decoder.size + activations


def available(device: torch.device) -> int | None:
    """Bytes that are free on the device; None where it can't tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type in ("cpu", "mps"):
        return min(psutil.virtual_memory().available, _container_limit())
    return None


def shortage(needed: int, free: int | None) -> str | None:
    """A warning in words where the need exceeds what is free, else None."""
    if free is None or needed <= free:
        return None
    return (
        f"this clip needs about {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free; it "
        f"may fail or be very slow. {REMEDIES}"
    )


REMEDIES = (
    "Fewer frames or a smaller size need less, and so does --frame-wise-decode; --save-latents keeps what is "
    "sampled should decoding fail."
)


def _container_limit() -> float:
    """Bytes left to the container that this process runs in, infinity outside of one (Linux, cgroup v2)."""
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return float(limit) - float(used)  # "max", where there is no limit, is no number
    except (OSError, ValueError):
        return float("inf")
