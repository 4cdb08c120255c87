"""Sinusoidal embeddings, and the weight that mixes a spatial and a temporal path."""

import math

import torch
from torch import Tensor


def sinusoidal_embedding(values: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Sinusoids [cos(v·f_i), sin(v·f_i)] of (N,) values v, (N, dim), float32; f_i = max_period^(−2i/dim)."""
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float32, device=values.device) / half
    frequencies = torch.exp(-math.log(max_period) * exponents)
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def mix_weight(mix_factor: Tensor, like: Tensor) -> Tensor:
    """Weight α = sigmoid(mix_factor), a tensor of no dimensions, in the dtype and on the device of `like`."""
    return torch.sigmoid(mix_factor.float()).to(like).squeeze()
