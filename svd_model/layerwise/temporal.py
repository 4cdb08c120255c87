"""The part of the temporal decoder that works over time: 3×1×1 convolutions, without neighbours in space."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from ..networks import planes
from ..networks.vae import VideoResnetBlock
from .moments import Moments, moments
from .spatial import Convolutions, Normaliser


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


class OverTime:
    """The temporal part of a residual block, on bands of rows of all frames: (T, C, rows, W)."""

    @staticmethod
    def of(block: VideoResnetBlock, whole: Moments, x: Tensor) -> "OverTime":
        """For bands of the device and dtype of x; `whole` are the moments of the whole clip, (1, groups)."""
        return (InPlanes if planes.used(x) else OverTime)(block, whole, x)

    def __init__(self, block: VideoResnetBlock, whole: Moments, x: Tensor):
        self._norm1, _, self._conv1 = block.time_stack.in_layers
        self._norm2, _, _, self._conv2 = block.time_stack.out_layers
        self._like = x
        self._alpha = torch.sigmoid(block.mix_factor.float()).item()
        self._whole = whole
        self.moments: Moments | None = None  # those after the first convolution, as far as it has come
        self.groups = self._norm1.num_groups
        self._ready = Convolutions()

    def first(self, band: Tensor) -> Tensor:
        """After the first normalisation and convolution."""
        return self._convolve(self._conv1, self._normalise1(band))

    @cached_property
    def _normalise1(self) -> Normaliser:
        return Normaliser.of(self._norm1, self._like, self._whole)

    @cached_property
    def _normalise2(self) -> Normaliser:
        """Asked for in the second pass, when the moments are those of the whole clip."""
        return Normaliser.of(self._norm2, self._like, self.moments)

    def merged(self, hidden: Tensor) -> Moments:
        """The moments so far together with those of one more band."""
        found = self._found(hidden).over_rows()
        return found if self.moments is None else self.moments.merged(found)

    def _found(self, hidden: Tensor) -> Moments:
        return moments(hidden, self.groups)

    def second(self, hidden: Tensor | None, band: Tensor) -> list[Callable[[], object]]:
        """What adds the second convolution of `first`'s result, if that was kept, to the band: in place.

        α·(band + v) + (1 − α)·band is band + α·v. An operation each, for once all is computed. The moments of
        the whole clip must be known.
        """
        hidden = self.first(band) if hidden is None else hidden
        change = self._convolve(self._conv2, self._normalise2(hidden))
        return [lambda: band.add_(change, alpha=self._alpha)]

    def _convolve(self, conv: nn.Module, band: Tensor) -> Tensor:
        return convolve_over_time(conv, band.flatten(2), self._ready).unflatten(2, band.shape[2:])


class InPlanes(OverTime):
    """The same as one matrix product a convolution; the first one's bias is left to the second norm."""

    def __init__(self, block: VideoResnetBlock, whole: Moments, x: Tensor):
        super().__init__(block, whole, x)
        self._taps, self._biases = [], []
        for conv in (self._conv1, self._conv2):
            with conv.weights_for(x) as (weight, bias):  # lent only
                self._taps.append(planes.taps(weight))
                self._biases.append(bias.clone())

    @cached_property
    def _normalise1(self) -> Normaliser:
        return Normaliser.of(self._norm1, self._like, self._whole, silu=False)

    @cached_property
    def _normalise2(self) -> Normaliser:
        return Normaliser.of(self._norm2, self._like, self.moments, silu=False, offset=self._biases[0])

    def first(self, band: Tensor) -> Tensor:
        windows = self._windows(self._normalise1(band))
        return torch.bmm(self._taps[0].expand(len(band), -1, -1), windows).unflatten(2, band.shape[2:])

    def _found(self, hidden: Tensor) -> Moments:
        return moments(hidden, self.groups, self._biases[0])

    def second(self, hidden: Tensor | None, band: Tensor) -> list[Callable[[], object]]:
        hidden = self.first(band) if hidden is None else hidden
        normal = self._normalise2(hidden)
        del hidden  # before there is one more of its size
        windows = self._windows(normal)
        taps, onto = self._taps[1].expand(len(band), -1, -1), band.flatten(2)  # a view
        bias = self._alpha * self._biases[1][:, None]
        return [lambda: onto.baddbmm_(taps, windows, alpha=self._alpha), lambda: onto.add_(bias)]

    @staticmethod
    def _windows(normal: Tensor) -> Tensor:
        """(T, C, rows, W), through SiLU -> (T, 3·C, rows·W)."""
        return planes.windows(planes.silu_between_zeros(normal.flatten(2), len(normal))[0])
