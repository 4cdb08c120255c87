"""Means and variances for group normalisation, merged from pieces of a clip.

Pieces are merged in float32 by the formula of Chan, Golub and LeVeque ("Updating Formulae and a Pairwise
Algorithm for Computing Sample Variances", 1979). It does not cancel where the mean is far above the standard
deviation, as E[x²] − E[x]² does.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks import planes

_PIECE_BYTES = 2**22
"""Bytes of a piece's float32 copy: the heap reuses freed blocks of this size instead of mapping new ones."""

_SAMPLE_POSITIONS = 64
"""Positions whose mean is near enough to the mean of all."""


@dataclass(frozen=True)
class Moments:
    """Means and sums of squared deviations, (N, groups) in float32 or wider, each over `count` numbers."""

    count: int
    mean: Tensor
    squared_deviations: Tensor

    def merged(self, other: "Moments") -> "Moments":
        """Moments of the union of two sets of numbers, row by row."""
        count = self.count + other.count
        difference = other.mean - self.mean
        mean = self.mean + difference * (other.count / count)
        between = difference.square() * (self.count * other.count / count)
        return Moments(count, mean, self.squared_deviations + other.squared_deviations + between)

    def merged_rows(self) -> "Moments":
        """Moments of the union of all rows, (1, groups)."""
        rows = self.mean.shape[0]
        mean = self.mean.mean(0, keepdim=True)
        between = (self.mean - mean).square().sum(0, keepdim=True) * self.count
        return Moments(rows * self.count, mean, self.squared_deviations.sum(0, keepdim=True) + between)

    def variance(self) -> Tensor:
        """The variance of each group, not corrected for bias: (N, groups)."""
        return self.squared_deviations / self.count

    def rows(self, rows: slice) -> "Moments":
        """Moments of a slice of the rows."""
        return Moments(self.count, self.mean[rows], self.squared_deviations[rows])

    @staticmethod
    def concatenated(parts: list["Moments"]) -> "Moments":
        """Moments with the rows of all parts in order; all parts must have one count."""
        names = ("mean", "squared_deviations")
        mean, squared_deviations = (torch.cat([getattr(p, name) for p in parts]) for name in names)
        return Moments(parts[0].count, mean, squared_deviations)


def moments(x: Tensor, groups: int, offset: Tensor | None = None) -> Moments:
    """Computes the moments of x, (N, C, …), over C / groups channels and all positions: (N, groups).

    In planes an offset, (C,), may be set: the result is for x + offset.
    """
    if planes.used(x):
        return _of_planes(x.flatten(2), groups, offset)
    if x.device.type == "cpu" and x.ndim == 4 and x.stride(1) == 1:
        return Moments.concatenated([_of_channels(row, groups) for row in x.permute(0, 2, 3, 1)])
    rows = x.reshape(x.shape[0] * groups, -1)
    size = rows.shape[1]
    if x.device.type != "cpu" and x.dtype.itemsize >= 4:
        variance, mean = torch.var_mean(rows, dim=-1, correction=0)
    else:
        mean, variance = _in_pieces(rows)
    mean, variance = (value.reshape(x.shape[0], groups) for value in (mean, variance))
    return Moments(size, mean, variance * size)


def _of_planes(x: Tensor, groups: int, offset: Tensor | None) -> Moments:
    """Moments of (N, C, L): a group at a time where its channels are contiguous and no offset is added."""
    if offset is None and x.is_contiguous():
        of_groups = planes.row_moments(x.view(len(x) * groups, -1))
        mean, variance = (value.view(len(x), groups) for value in of_groups)
    else:
        mean, variance = planes.group_moments(x, groups, None if offset is None else offset[None])
    size = x[0].numel() // groups
    return Moments(size, mean, variance * size)


def piece_size(numbers: int, groups: int = 32) -> int:
    """Bytes of workspace that `moments` needs at most for a count of numbers in groups."""
    return max(min(_PIECE_BYTES, 4 * numbers), 4 * numbers // groups)


def _in_pieces(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each row of (N, L), widened to float32 a few rows at a time."""
    size = rows.shape[1]
    means, variances = [], []
    for piece in rows.split(max(1, _PIECE_BYTES // (4 * size))):
        wide = piece if piece.dtype == torch.float64 else piece.float()
        if wide.device.type == "cpu":  # where layer norm is ten times as fast as torch.var_mean
            _, mean, rstd = torch.native_layer_norm(wide, (size,), None, None, 0.0)
            variance = rstd.square().reciprocal()  # a constant row has an infinite rstd: variance 0
        else:
            variance, mean = torch.var_mean(wide, dim=-1, correction=0)
        means.append(mean)
        variances.append(variance)
    return torch.cat(means), torch.cat(variances)


def _of_channels(row: Tensor, groups: int) -> Moments:
    """Moments of one row in channels-last layout, (H, W, C), a few lines at a time: (1, groups).

    Sums over positions are products with a row of ones, which run at the speed of memory. The mean of a
    sample is subtracted first, so that the squares don't cancel.
    """
    total = None
    for piece in row.split(max(1, _PIECE_BYTES // (4 * row[0].numel()))):
        tokens = piece.flatten(0, 1)
        tokens = tokens if tokens.dtype == torch.float64 else tokens.float()
        count = tokens.shape[0]
        centre = tokens[:: -(-count // _SAMPLE_POSITIONS)].mean(0)
        centred = tokens - centre
        ones = centred.new_ones(1, count)
        shift = (ones @ centred)[0] / count
        squared_deviations = (ones @ centred.mul_(centred))[0] - count * shift.square()
        mean = (centre + shift).view(groups, -1)
        group_mean = mean.mean(1, keepdim=True)
        between = count * (mean - group_mean).square().sum(1)
        within_and_between = squared_deviations.clamp_(min=0).view(groups, -1).sum(1) + between
        of_piece = Moments(count * mean.shape[1], group_mean.T, within_and_between[None])
        total = of_piece if total is None else total.merged(of_piece)
    return total
