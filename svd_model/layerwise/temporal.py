"""The part of the temporal decoder that works over time: 3×1×1 convolutions, without neighbours in space."""

import torch
from torch import Tensor, nn

from .spatial import Convolutions


def convolve_over_time(conv: nn.Conv3d, x: Tensor, ready: Convolutions | None = None) -> Tensor:
    """A 3×1×1 convolution with zeros before and after: (T, C, L) -> (T, C', L), laid out as x is.

    Where the channels are not last, as three matrix products, which need no copy of the frames.
    """
    if x.stride(1) == 1:
        convolution = (ready or Convolutions()).of(conv, x)
        return convolution(x.transpose(0, 1)[None], padding=(1, 0))[0].transpose(0, 1)
    with conv.weights_for(x) as (weight, bias):  # (C', C, 3, 1, 1)
        before, now, after = (tap.contiguous() for tap in weight[..., 0, 0].unbind(-1))
        frames = x.shape[0]
        result = torch.matmul(now, x)
        if frames > 1:
            result[1:].baddbmm_(before.expand(frames - 1, -1, -1), x[:-1])
            result[:-1].baddbmm_(after.expand(frames - 1, -1, -1), x[1:])
        return result.add_(bias[:, None])
