"""Scales over frames from a curve: points of position and value, with lines or a cubic between them."""

from collections.abc import Sequence

import torch
from torch import Tensor

_EXACT = {"dtype": torch.float64, "device": "cpu"}


def between_points(
    num_frames: int, positions: Sequence[float], values: Sequence[float], smooth: bool = False
) -> Tensor:
    """The values of a curve at each frame, (T,), the first frame at position 0 and the last one at 1.

    positions rise. Outside of them the curve has its first and its last value. smooth: the monotone cubic of
    Fritsch & Butland (1984), which stays between the values of neighbours; straight lines otherwise.
    """
    x, y = torch.tensor(positions, **_EXACT), torch.tensor(values, **_EXACT)
    at = torch.linspace(0, 1, num_frames, **_EXACT).clamp(x[0], x[-1])
    left = (torch.searchsorted(x, at, right=True) - 1).clamp(0, len(x) - 2)
    width, slope = x.diff(), y.diff() / x.diff()
    share = (at - x[left]) / width[left]
    line = torch.lerp(y[left], y[left + 1], share)
    if smooth:
        tangents = _tangents(width, slope)
        start, end = tangents[left] - slope[left], tangents[left + 1] - slope[left]
        line = line + share * (1 - share) * width[left] * ((1 - share) * start - share * end)
    return line.to(torch.float32)


def _tangents(width: Tensor, slope: Tensor) -> Tensor:
    """The slopes of the cubic at its points, from those of the lines between them."""
    if len(slope) == 1:
        return slope.repeat(2)
    arriving, leaving = slope[:-1], slope[1:]
    near, far = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    mean = (near + far) / (near / arriving + far / leaving)
    inner = torch.where(arriving * leaving > 0, mean, torch.zeros_like(mean))
    first = _end_tangent(*width[:2], *slope[:2])
    last = _end_tangent(*width.flip(0)[:2], *slope.flip(0)[:2])
    return torch.cat([first[None], inner, last[None]])


def _end_tangent(width: Tensor, next_width: Tensor, slope: Tensor, next_slope: Tensor) -> Tensor:
    """The slope at an end by three points, held so that the cubic does not turn back."""
    tangent = ((2 * width + next_width) * slope - width * next_slope) / (width + next_width)
    if tangent * slope <= 0:
        return torch.zeros_like(slope)
    turns = slope * next_slope <= 0
    return 3 * slope if turns and tangent.abs() > 3 * slope.abs() else tangent
