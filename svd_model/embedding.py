"""Sinusoidal embeddings, and the α-mix of the spatial and the temporal path."""

import math

import torch
from torch import Tensor


def sinusoidal_embedding(values: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """(N,) numbers -> (N, dim), float32: [cos(v·f_i), sin(v·f_i)] with f_i = max_period^(−2i/dim)."""
    half = dim // 2
    exponents = torch.arange(half, dtype=torch.float32, device=values.device) / half
    frequencies = torch.exp(-math.log(max_period) * exponents)
    angles = values.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def mix(mix_factor: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """α·first + (1−α)·second with α = sigmoid(mix_factor), one number."""
    alpha = torch.sigmoid(mix_factor.float()).to(device=first.device, dtype=first.dtype)
    return alpha * first + (1 - alpha) * second
