"""Means and variances of a group normalisation, merged from pieces of a clip, and the normalisation by them.

Pieces are merged in float32 by the formula of Chan, Golub and LeVeque ("Updating Formulae and a Pairwise
Algorithm for Computing Sample Variances", 1979). It does not cancel where the mean is far above the standard
deviation, as E[x²] − E[x]² does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..networks import planes

_PIECE_BYTES = 2**22
"""Bytes of a piece's float32 copy: the heap reuses freed blocks of this size instead of mapping new ones."""


@dataclass(frozen=True)
class Moments:
    """Means and variances, (N, groups) in float32 or wider, each over `count` numbers."""

    count: int
    mean: Tensor
    variance: Tensor  # not corrected for bias

    def merged(self, other: "Moments") -> "Moments":
        """Moments of the union of two sets of numbers, row by row."""
        count = self.count + other.count
        share, difference = other.count / count, other.mean - self.mean
        variance = self.variance.lerp(other.variance, share)
        variance = variance.addcmul_(difference, difference, value=share * (1 - share))
        return Moments(count, self.mean.lerp(other.mean, share), variance)

    def merged_rows(self) -> "Moments":
        """Moments of the union of all rows, (1, groups)."""
        between, mean = torch.var_mean(self.mean, 0, correction=0, keepdim=True)
        return Moments(len(self.mean) * self.count, mean, between.add_(self.variance.mean(0)))

    def normaliser(
        self, norm: nn.GroupNorm, x: Tensor, *, silu: bool = True, offset: Tensor | None = None
    ) -> Callable[..., Tensor]:
        """The function that normalises tensors like x, (N, C, H, W), with a SiLU after it.

        It takes an `out` to write to, without which the result is a new tensor. It keeps copies of the norm's
        weights. One row of moments serves any N. With an offset, (C,), it normalises x + offset, whose
        moments these are then.
        """
        size = norm.num_channels // norm.num_groups
        mean, variance = (value.repeat_interleave(size, dim=1) for value in (self.mean, self.variance))
        mean = mean if offset is None else mean - offset
        with norm.weights_for(x) as weights:
            weight, bias = (value.to(mean.dtype) for value in weights)
            if planes.used(x):
                tables = (weight.repeat(len(mean)), bias.repeat(len(mean)), mean, variance, norm.eps)
                return partial(_normalised_planes, tables=tables, silu=silu)
            scale = weight * (variance + norm.eps).rsqrt()
            scale, shift = (value[..., None, None] for value in (scale, bias - mean * scale))
            return partial(_normalised, scale=scale, shift=shift, silu=silu)


def _normalised_planes(x: Tensor, tables: tuple, silu: bool, out: Tensor | None = None) -> Tensor:
    result = planes.normalised(x.flatten(2), *tables, None if out is None else out.flatten(2)).view(x.shape)
    return functional.silu(result, inplace=True) if silu else result


def _normalised(x: Tensor, scale: Tensor, shift: Tensor, silu: bool, out: Tensor | None = None) -> Tensor:
    wide = x.dtype == scale.dtype
    result = torch.addcmul(shift, x, scale, out=out) if wide else (x * scale).add_(shift)
    result = functional.silu(result, inplace=True) if silu else result
    return result.to(x.dtype) if wide or out is None else out.copy_(result)


def moments(x: Tensor, groups: int, offset: Tensor | None = None) -> Moments:
    """Computes the moments of x, (N, C, …), over C / groups channels and all positions: (N, groups).

    In planes an offset, (C,), may be set: the result is for x + offset.
    """
    size = x[0].numel() // groups
    if planes.used(x):
        offset = None if offset is None else offset[None]
        return Moments(size, *planes.group_moments(x.flatten(2), groups, offset))
    if x.device.type == "cpu" and x.ndim == 4 and x.stride(1) == 1:
        rows = [_of_channels(row, groups) for row in x.permute(0, 2, 3, 1)]
        return Moments(size, torch.cat([row.mean for row in rows]), torch.cat([row.variance for row in rows]))
    pieces = x.reshape(len(x) * groups, -1).split(max(1, _PIECE_BYTES // (4 * size)))
    found = [torch.var_mean(_wide(piece), dim=-1, correction=0) for piece in pieces]
    variance, mean = (torch.cat(values).view(len(x), groups) for values in zip(*found, strict=True))
    return Moments(size, mean, variance)


def piece_size(numbers: int, groups: int = 32) -> int:
    """Bytes of workspace that `moments` needs at most for a count of numbers in groups."""
    return max(min(_PIECE_BYTES, 4 * numbers), 4 * numbers // groups)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _of_channels(row: Tensor, groups: int) -> Moments:
    """Moments of one row in channels-last layout, (H, W, C), a few lines at a time: (1, groups).

    A batch normalisation's statistics are those of each channel, by two passes at the speed of memory: the
    mean, and the squares of what differs from it.
    """
    pieces = row.split(max(1, _PIECE_BYTES // (4 * row[0].numel())))
    return reduce(Moments.merged, (_of_lines(_wide(piece), groups) for piece in pieces))


def _of_lines(lines: Tensor, groups: int) -> Moments:
    """Moments of (H, W, C): (1, groups)."""
    mean, variance = torch.batch_norm_update_stats(lines.permute(2, 0, 1)[None], None, None, momentum=0.0)
    channels = Moments(lines[..., 0].numel(), mean.view(groups, -1).mT, variance.view(groups, -1).mT)
    return channels.merged_rows()
