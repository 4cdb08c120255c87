"""Masks of a coarse video at the size of its latents, an eighth: (T, 1, H, W) of 0 and 1 to (T, 1, h, w)."""

import torch
from torch import Tensor
from torch.nn import functional

DOWNSCALE = 8


def nearest(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask at single pixels, as Time-to-Move's code has it: strokes thinner than 8 pixels may vanish.

    size: h and w of the latents. Of H pixels, row i of h is pixel ⌊i·H/h⌋.
    """
    rows, columns = (
        torch.arange(latents, device=mask.device, dtype=torch.int64) * pixels // latents
        for latents, pixels in zip(size, mask.shape[2:], strict=True)
    )
    return mask[:, :, rows][:, :, :, columns]


def touched(mask: Tensor) -> Tensor:
    """1 wherever any of the 8×8 pixels is 1."""
    return functional.max_pool2d(mask, DOWNSCALE)


def shares(mask: Tensor) -> Tensor:
    """The mean of the 8×8 pixels."""
    return functional.avg_pool2d(mask, DOWNSCALE)


def of_video(video: Tensor) -> Tensor:
    """The mask that a video of it shows, (T, 3, H, W) in [0, 1]: 1 where any channel is above a half."""
    return (video > 0.5).any(dim=1, keepdim=True).to(video.dtype)
