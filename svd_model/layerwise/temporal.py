"""The part of the temporal decoder that works over time: 3×1×1 convolutions, without neighbours in space."""

import torch
from torch import Tensor, nn


def convolve_over_time(conv: nn.Conv3d, x: Tensor) -> Tensor:
    """A 3×1×1 convolution with zeros before and after, as three matrix products: (T, C, L) -> (T, C', L).

    As fast as torch's own on a CPU, without rearranging the frames, and there also where Conv3d is not.
    """
    weight, bias = conv.cast_weights(x)  # (C', C, 3, 1, 1)
    before, now, after = (tap.contiguous() for tap in weight[..., 0, 0].unbind(-1))
    frames = x.shape[0]
    result = torch.matmul(now, x)
    if frames > 1:
        result[1:].baddbmm_(before.expand(frames - 1, -1, -1), x[:-1])
        result[:-1].baddbmm_(after.expand(frames - 1, -1, -1), x[1:])
    return result.add_(bias[:, None])
