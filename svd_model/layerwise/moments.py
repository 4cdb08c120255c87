"""Means and variances of group normalisation, gathered piece by piece.

In float32 and merged by the formula of Chan, Golub and LeVeque ("Updating Formulae and a Pairwise Algorithm
for Computing Sample Variances", 1979), which does not cancel where the mean is far above the deviation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks import planes

_PIECE = 2**22
"""Bytes taken at once where a copy is made: freed blocks of this size are reused instead of mapped anew."""

_SAMPLE = 64
"""Positions whose mean is near enough to that of all."""


@dataclass(frozen=True)
class Moments:
    """Of each group of channels of each row: (N, groups) means and sums of squared deviations, float32."""

    count: int
    mean: Tensor
    deviations: Tensor

    def merged(self, other: "Moments") -> "Moments":
        """The moments of both sets of numbers together, row by row."""
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = apart.square() * (self.count * other.count / count)
        return Moments(count, mean, self.deviations + other.deviations + between)

    def over_rows(self) -> "Moments":
        """The moments of all rows together, (1, groups)."""
        rows = self.mean.shape[0]
        mean = self.mean.mean(0, keepdim=True)
        between = (self.mean - mean).square().sum(0, keepdim=True) * self.count
        return Moments(rows * self.count, mean, self.deviations.sum(0, keepdim=True) + between)

    def variance(self) -> Tensor:
        """The variance of each group, not corrected for bias: (N, groups)."""
        return self.deviations / self.count

    def rows(self, rows: slice) -> "Moments":
        """Those of some rows."""
        return Moments(self.count, self.mean[rows], self.deviations[rows])

    @staticmethod
    def of_rows(parts: list["Moments"]) -> "Moments":
        """The rows of several, one below the other; all must have counted the same."""
        mean, deviations = (torch.cat([getattr(p, name) for p in parts]) for name in ("mean", "deviations"))
        return Moments(parts[0].count, mean, deviations)


def moments(x: Tensor, groups: int, offset: Tensor | None = None) -> Moments:
    """Of x, (N, C, …): over C / groups channels and all positions, for each row and group.

    In planes also of x + offset, (C,).
    """
    if planes.used(x):
        return _of_planes(x.flatten(2), groups, offset)
    if x.device.type == "cpu" and x.ndim == 4 and x.stride(1) == 1:
        return Moments.of_rows([_of_channels(row, groups) for row in x.permute(0, 2, 3, 1)])
    rows = x.reshape(x.shape[0] * groups, -1)
    size = rows.shape[1]
    if x.device.type != "cpu" and x.dtype.itemsize >= 4:
        variance, mean = torch.var_mean(rows, dim=-1, correction=0)
    else:
        mean, variance = _in_pieces(rows)
    mean, variance = (value.reshape(x.shape[0], groups) for value in (mean, variance))
    return Moments(size, mean, variance * size)


def _of_planes(x: Tensor, groups: int, offset: Tensor | None) -> Moments:
    """Of (N, C, L): by whole groups where these lie in a row and nothing is to be added."""
    if offset is None and x.is_contiguous():
        found = planes.row_moments(x.view(len(x) * groups, -1))
        mean, variance = (value.view(len(x), groups) for value in found)
    else:
        mean, variance = planes.group_moments(x, groups, None if offset is None else offset[None])
    size = x[0].numel() // groups
    return Moments(size, mean, variance * size)


def piece_size(numbers: int, groups: int = 32) -> int:
    """The most bytes that `moments` takes besides, for so many numbers in so many groups."""
    return max(min(_PIECE, 4 * numbers), 4 * numbers // groups)


def _in_pieces(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each row, widened to float32 a few rows at a time."""
    size = rows.shape[1]
    means, variances = [], []
    for piece in rows.split(max(1, _PIECE // (4 * size))):
        wide = piece if piece.dtype == torch.float64 else piece.float()
        if wide.device.type == "cpu":  # where a layer norm does it ten times as fast as torch.var_mean
            _, mean, rstd = torch.native_layer_norm(wide, (size,), None, None, 0.0)
            variance = rstd.square().reciprocal()  # a constant row has an infinite rstd: variance 0
        else:
            variance, mean = torch.var_mean(wide, dim=-1, correction=0)
        means.append(mean)
        variances.append(variance)
    return torch.cat(means), torch.cat(variances)


def _of_channels(row: Tensor, groups: int) -> Moments:
    """Of one row laid out with its channels last, (H, W, C), some of its lines at a time.

    Sums over positions are products with a row of ones, which run at the speed of memory. They are taken
    around the mean of a sample, so that the squares don't cancel.
    """
    found = None
    for piece in row.split(max(1, _PIECE // (4 * row[0].numel()))):
        tokens = piece.flatten(0, 1)
        tokens = tokens if tokens.dtype == torch.float64 else tokens.float()
        count = tokens.shape[0]
        centre = tokens[:: -(-count // _SAMPLE)].mean(0)
        apart = tokens - centre
        ones = apart.new_ones(1, count)
        shift = (ones @ apart)[0] / count
        deviations = (ones @ apart.mul_(apart))[0] - count * shift.square()
        mean = (centre + shift).view(groups, -1)
        of_group = mean.mean(1, keepdim=True)
        between = count * (mean - of_group).square().sum(1)
        total = deviations.clamp_(min=0).view(groups, -1).sum(1) + between
        here = Moments(count * mean.shape[1], of_group.T, total[None])
        found = here if found is None else found.merged(here)
    return found
