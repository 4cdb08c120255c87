"""IMAGE: resizing as the host's own nodes do it."""

import comfy.utils
from torch import Tensor


def resize(images: Tensor, width: int, height: int, crop: bool = False) -> Tensor:
    """Pictures (N, C, H, W) in that size, by Lanczos; what does not fit is cut off on both sides, or bent."""
    return comfy.utils.common_upscale(images, width, height, "lanczos", "center" if crop else "disabled")
