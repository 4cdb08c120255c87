"""Contrast of a clip, even over its frames: in long clips sampled frames turn grey, each a little more."""

from torch import Tensor


def even_contrast(latents: Tensor, scale: float) -> Tensor:
    """Latents of a clip, (T, 4, h, w), each frame with the clip's mean and deviation, times the scale.

    As ExVideo (Duan et al., 2024) does after sampling. Deviations are unbiased, of a frame and of the clip.
    """
    each = {"dim": (1, 2, 3), "keepdim": True}
    even = (latents - latents.mean(**each)) / latents.std(**each) * latents.std() + latents.mean()
    return scale * even
