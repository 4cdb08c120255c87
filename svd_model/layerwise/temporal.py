"""Temporal layers of the video decoder: 3×1×1 convolutions, which see one position of all frames."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from ..networks import planes
from ..networks.vae import VideoResnetBlock
from .moments import Moments, moments
from .spatial import Normaliser, PackedConvolutions


def convolve_over_time(conv: nn.Conv3d, x: Tensor, packed: PackedConvolutions | None = None) -> Tensor:
    """Runs a 3×1×1 convolution with a frame of zeros at both ends: (T, C, L) -> (T, C', L), in x's layout.

    Unless channels are last, by three matrix products, which need no copy of the frames.
    """
    if x.stride(1) == 1:
        convolution = (packed or PackedConvolutions()).of(conv, x)
        return convolution(x.transpose(0, 1)[None], padding=(1, 0))[0].transpose(0, 1)
    with conv.weights_for(x) as (weight, bias):  # (C', C, 3, 1, 1)
        previous, current, following = (tap.contiguous() for tap in weight[..., 0, 0].unbind(-1))
        frames = x.shape[0]
        result = torch.matmul(current, x)
        if frames > 1:
            result[1:].baddbmm_(previous.expand(frames - 1, -1, -1), x[:-1])
            result[:-1].baddbmm_(following.expand(frames - 1, -1, -1), x[1:])
        return result.add_(bias[:, None])


class TemporalPart:
    """Temporal part of a residual block, computed on bands of rows of all frames, (T, C, rows, W).

    The first pass calls `first_convolution` on every band and merges the moments of all results into
    hidden_moments; the second pass calls `second_convolution`.
    """

    @staticmethod
    def of(block: VideoResnetBlock, clip_moments: Moments, x: Tensor) -> "TemporalPart":
        """Builds the part for bands of x's device and dtype; clip_moments: over all frames, (1, groups)."""
        return (TemporalPartInPlanes if planes.used(x) else TemporalPart)(block, clip_moments, x)

    def __init__(self, block: VideoResnetBlock, clip_moments: Moments, x: Tensor):
        self._norm1, _, self._conv1 = block.time_stack.in_layers
        self._norm2, _, _, self._conv2 = block.time_stack.out_layers
        self._like = x
        self._alpha = torch.sigmoid(block.mix_factor.float()).item()
        self._clip_moments = clip_moments
        self.hidden_moments: Moments | None = None  # of the first convolution's output, merged band by band
        self.groups = self._norm1.num_groups
        self._packed = PackedConvolutions()

    def first_convolution(self, band: Tensor) -> Tensor:
        """Runs the first normalisation and convolution."""
        return self._convolve(self._conv1, self._normalise1(band))

    @cached_property
    def _normalise1(self) -> Normaliser:
        return Normaliser.of(self._norm1, self._like, self._clip_moments)

    @cached_property
    def _normalise2(self) -> Normaliser:
        """The second normalisation; valid once hidden_moments are over the whole clip."""
        return Normaliser.of(self._norm2, self._like, self.hidden_moments)

    def merged_moments(self, hidden: Tensor) -> Moments:
        """Moments of the union of one more band and all earlier bands."""
        band_moments = self._moments(hidden).merged_rows()
        return band_moments if self.hidden_moments is None else self.hidden_moments.merged(band_moments)

    def _moments(self, hidden: Tensor) -> Moments:
        return moments(hidden, self.groups)

    def second_convolution(self, hidden: Tensor | None, band: Tensor) -> list[Callable[[], object]]:
        """Computes the second convolution, and returns operations that add it to the band in place.

        hidden: the first convolution's output, or None to compute it once more. The block's mix of its input
        and its output, α·(band + v) + (1 − α)·band, is band + α·v. Requires hidden_moments of the whole clip.
        """
        hidden = self.first_convolution(band) if hidden is None else hidden
        change = self._convolve(self._conv2, self._normalise2(hidden))
        return [lambda: band.add_(change, alpha=self._alpha)]

    def _convolve(self, conv: nn.Module, band: Tensor) -> Tensor:
        return convolve_over_time(conv, band.flatten(2), self._packed).unflatten(2, band.shape[2:])


class TemporalPartInPlanes(TemporalPart):
    """Temporal part with one matrix product a convolution; the second norm adds the first one's bias."""

    def __init__(self, block: VideoResnetBlock, clip_moments: Moments, x: Tensor):
        super().__init__(block, clip_moments, x)
        self._taps, self._biases = [], []
        for conv in (self._conv1, self._conv2):
            with conv.weights_for(x) as (weight, bias):  # lent for this block only, so copied
                self._taps.append(planes.taps(weight))
                self._biases.append(bias.clone())

    @cached_property
    def _normalise1(self) -> Normaliser:
        return Normaliser.of(self._norm1, self._like, self._clip_moments, silu=False)

    @cached_property
    def _normalise2(self) -> Normaliser:
        hidden_moments, bias = self.hidden_moments, self._biases[0]
        return Normaliser.of(self._norm2, self._like, hidden_moments, silu=False, offset=bias)

    def first_convolution(self, band: Tensor) -> Tensor:
        windows = self._windows(self._normalise1(band))
        return torch.bmm(self._taps[0].expand(len(band), -1, -1), windows).unflatten(2, band.shape[2:])

    def _moments(self, hidden: Tensor) -> Moments:
        return moments(hidden, self.groups, self._biases[0])

    def second_convolution(self, hidden: Tensor | None, band: Tensor) -> list[Callable[[], object]]:
        hidden = self.first_convolution(band) if hidden is None else hidden
        normal = self._normalise2(hidden)
        del hidden  # frees it for the windows, which are as large
        windows = self._windows(normal)
        taps, onto = self._taps[1].expand(len(band), -1, -1), band.flatten(2)  # a view
        bias = self._alpha * self._biases[1][:, None]
        return [lambda: onto.baddbmm_(taps, windows, alpha=self._alpha), lambda: onto.add_(bias)]

    @staticmethod
    def _windows(normal: Tensor) -> Tensor:
        """Applies SiLU and joins each frame with its neighbours: (T, C, rows, W) -> (T, 3·C, rows·W)."""
        return planes.windows(planes.silu_between_zeros(normal.flatten(2), len(normal))[0])
