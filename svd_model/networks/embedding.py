"""Embeddings of numbers, and of the frames of a clip."""

import math

import torch
from torch import Tensor, nn

from .operations import empty_parameter


def sinusoidal_embedding(values: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Sinusoids [cos(v·f_i), sin(v·f_i)] of (N,) values v, (N, dim), float32; f_i = max_period^(−2i/dim)."""
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float32, device=values.device) / half
    frequencies = torch.exp(-math.log(max_period) * exponents)
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class LearnedPositions(nn.Module):
    """Embeddings of a clip's frames by their numbers, (count, dim): learned, so for so many frames."""

    def __init__(self, count: int, dim: int, **factory):
        super().__init__()
        self.embeddings = empty_parameter(count, dim, **factory)

    def forward(self, num_frames: int, like: Tensor) -> Tensor:
        """Embeddings of the first frames, (num_frames, dim), in the dtype and on the device of `like`."""
        if num_frames > len(self.embeddings):
            raise ValueError(
                f"the clip has {num_frames} frames; this UNet has learned the positions of "
                f"{len(self.embeddings)}: sample so many at the most."
            )
        return self.embeddings[:num_frames].to(like)
