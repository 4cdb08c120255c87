"""How much memory a clip will need, roughly, and how much there is."""

import psutil
import torch

from ..svd_model.checkpoint import Checkpoint
from .settings import Settings


def estimate(checkpoint: Checkpoint, settings: Settings, dtype: torch.dtype) -> int:
    """Bytes for the weights and for the activations at their peak, for complete settings."""
    weights = sum(network.size for network in checkpoint.networks)
    decoder = checkpoint.decoder.params
    height, width = settings.height // decoder.downscale, settings.width // decoder.downscale
    together = checkpoint.variant.temporal_decoder and not settings.frame_wise_decode
    decode = decoder.decode_memory(settings.num_frames if together else 1, height, width, torch.float32)
    unet = checkpoint.unet.params.memory(settings.num_frames, height, width, dtype)
    return weights + max(unet, decode)


def available(device: torch.device) -> int | None:
    """Bytes that are free on the device; None where it can't tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type in ("cpu", "mps"):
        return psutil.virtual_memory().available
    return None


def shortage(needed: int, free: int | None) -> str | None:
    """A warning in words where the need exceeds what is free, else None."""
    if free is None or needed <= free:
        return None
    return (
        f"this clip needs about {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free; it "
        "may fail or be very slow. Fewer frames or a smaller size need less."
    )
