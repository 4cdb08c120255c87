"""Temporal part of the video decoder's blocks: 3×1×1 convolutions, which see one position of all frames."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..networks import kernels, planes
from ..networks.vae import VideoResnetBlock
from .moments import Moments, moments
from .spatial import Packs, pack


def normalised_between_neighbours(normalise: Callable[..., Tensor], x: Tensor, ring: bool) -> Tensor:
    """Normalises x, and puts a frame before and one after it: (T, C, rows, W) -> (T + 2, C, rows, W).

    On a ring they are its own last and first frame, otherwise zeros.
    """
    padded = kernels.empty((len(x) + 2, *x.shape[1:]), x)
    normalise(x, out=padded[1:-1])
    if ring:
        padded[0], padded[-1] = padded[-2], padded[1]
    else:
        padded[:: len(x) + 1].zero_()
    return padded


def convolve_over_time(conv: nn.Conv3d, padded: Tensor, packs: Packs) -> Tensor:
    """Runs a 3×1×1 convolution on frames between neighbours: (T + 2, C, rows, W) -> (T, C', rows, W)."""
    videos = padded.flatten(2).transpose(0, 1)[None]  # (1, C, T + 2, rows·W)
    return pack(packs, conv, padded)(videos)[0].transpose(0, 1).unflatten(2, padded.shape[2:])


class TemporalPart:
    """Temporal part of a residual block, computed on bands of rows of all frames, (T, C, rows, W).

    The first pass calls `first_convolution` on every band and merges the moments of all results; the second
    pass calls `add_second_convolution`. The block's mix of its input and its output, α·(x + v) + (1 − α)·x,
    is x + α·v.
    """

    offset: Tensor | None = None
    """Numbers, (C,), that the input misses: the spatial part has added the second bias to it."""

    hidden_offset: Tensor | None = None
    """Numbers, (C,), that the first convolution's output misses: its bias."""

    @staticmethod
    def of(block: VideoResnetBlock, like: Tensor, ring: bool) -> "TemporalPart":
        """The part for bands of a tensor's device and dtype."""
        return (TemporalPartInPlanes if planes.used(like) else TemporalPart)(block, like, ring)

    def __init__(self, block: VideoResnetBlock, like: Tensor, ring: bool):
        self._norm1, _, self._conv1 = block.time_stack.in_layers
        self._norm2, _, _, self._conv2 = block.time_stack.out_layers
        self._alpha = torch.sigmoid(block.mix_factor.float()).item()
        self._like, self._ring, self._packs = like, ring, {}

    def moments(self, x: Tensor) -> Moments:
        """Moments of the input, over all frames of x, (N, C, H, W): (1, groups)."""
        return moments(x, self._norm1.num_groups, self.offset).merged_rows()

    def hidden_moments(self, hidden: Tensor) -> Moments:
        """Moments of the first convolution's output, over all frames: (1, groups)."""
        return moments(hidden, self._norm2.num_groups, self.hidden_offset).merged_rows()

    def first_normaliser(self, clip: Moments) -> Callable[..., Tensor]:
        """The first normalisation, by the moments of the whole clip."""
        return clip.normaliser(self._norm1, self._like, offset=self.offset)

    def second_normaliser(self, hidden: Moments) -> Callable[..., Tensor]:
        """The second normalisation, by the moments of all hidden rows."""
        return hidden.normaliser(self._norm2, self._like, offset=self.hidden_offset)

    def first_convolution(self, normalise: Callable, band: Tensor, into: Tensor | None) -> Tensor:
        """Normalises and convolves a band; the result is a copy in `into`, if there is one."""
        hidden = convolve_over_time(self._conv1, self._padded(normalise, band), self._packs)
        return hidden if into is None else into.copy_(hidden)

    def add_second_convolution(self, normalise: Callable, hidden: Tensor, band: Tensor) -> None:
        """Adds α times the convolution of normalised hidden rows to a band, by the last operation."""
        padded = self._padded(normalise, hidden)
        del hidden
        band.add_(convolve_over_time(self._conv2, padded, self._packs), alpha=self._alpha)

    def _padded(self, normalise: Callable, x: Tensor) -> Tensor:
        return normalised_between_neighbours(normalise, x, self._ring)


class TemporalPartInPlanes(TemporalPart):
    """Temporal part with one matrix product a convolution. Biases are added by norms and the spatial part."""

    def __init__(self, block: VideoResnetBlock, like: Tensor, ring: bool):
        super().__init__(block, like, ring)
        with self._conv1.weights_for(like) as (weight, bias):  # lent for this block only, so copied
            self._taps1, self.hidden_offset = planes.taps(weight), bias.clone()
        with self._conv2.weights_for(like) as (weight, bias):
            self._taps2, self.offset = planes.taps(weight), bias * -self._alpha

    def first_convolution(self, normalise: Callable, band: Tensor, into: Tensor | None) -> Tensor:
        hidden = torch.empty_like(band, memory_format=torch.contiguous_format) if into is None else into
        taps, out = self._taps1.expand(len(band), -1, -1), hidden.view(*hidden.shape[:2], -1)
        windows = self._windows(normalise, band)
        with planes.precision_of_convolutions(windows):
            torch.bmm(taps, windows, out=out)
        return hidden

    def add_second_convolution(self, normalise: Callable, hidden: Tensor, band: Tensor) -> None:
        taps, windows = self._taps2.expand(len(band), -1, -1), self._windows(normalise, hidden)
        with planes.precision_of_convolutions(windows):
            band.view(*band.shape[:2], -1).baddbmm_(taps, windows, alpha=self._alpha)

    def _windows(self, normalise: Callable, x: Tensor) -> Tensor:
        """Normalises x and joins each frame with its neighbours: (T, C, rows, W) -> (T, 3·C, rows·W)."""
        return planes.windows(self._padded(normalise, x).flatten(2))
