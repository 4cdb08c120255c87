"""IMAGE: resizing as the host's own nodes do it."""

import comfy.utils
from torch import Tensor


def resize(images: Tensor, width: int, height: int, crop: bool = False) -> Tensor:
    """Pictures (N, C, H, W) in that size, by Lanczos; what does not fit is cut off on both sides, or bent."""
    images = _middle(images, width / height) if crop else images
    return comfy.utils.common_upscale(images, width, height, "lanczos", "disabled")


def _middle(images: Tensor, aspect: float) -> Tensor:
    """The largest part of those proportions, as the host cuts it, but never less than a pixel."""
    height, width = images.shape[-2:]
    left = round((width - min(width, height * aspect)) / 2)
    top = round((height - min(height, width / aspect)) / 2)
    left, top = min(left, (width - 1) // 2), min(top, (height - 1) // 2)
    return images[..., top : height - top, left : width - left]
