"""Areas of a picture, (1, H, W) of 0 and 1, from what a user drew; points are x and y in pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .tracks import Point, Stroke
from .warp import pixels, places


def of_polygon(points: Sequence[Point], height: int, width: int) -> Tensor:
    """Pixels whose centre lies inside a polygon, by the even-odd rule."""
    inside = torch.zeros(height, width, dtype=torch.bool, device="cpu")
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        if y0 == y1:
            continue
        rows = pixels(min(y0, y1), max(y0, y1), height)
        x, y = places(rows, range(width), inside.device)
        crosses = (min(y0, y1) <= y) & (y < max(y0, y1))
        inside[rows.start : rows.stop] ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside[None].float()


def of_line(points: Sequence[Point], radius: float, height: int, width: int) -> Tensor:
    """Pixels at most a radius away from the line through points; a single one gives a disc."""
    near = torch.zeros(height, width, dtype=torch.bool, device="cpu")
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[-1]], strict=True):
        rows = pixels(min(y0, y1) - radius, max(y0, y1) + radius, height)
        columns = pixels(min(x0, x1) - radius, max(x0, x1) + radius, width)
        x, y = places(rows, columns, near.device)
        length = (x1 - x0) ** 2 + (y1 - y0) ** 2
        share = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length if length else torch.zeros_like(x)
        share = share.clamp(0, 1)
        distance = (x - x0 - share * (x1 - x0)) ** 2 + (y - y0 - share * (y1 - y0)) ** 2
        near[rows.start : rows.stop, columns.start : columns.stop] |= distance <= radius**2
    return near[None].float()


def brushed(area: Tensor, strokes: Sequence[Stroke]) -> Tensor:
    """An area with strokes added and erased, in order."""
    height, width = area.shape[1:]
    for stroke in strokes:
        points = [pixel(point, height, width) for point in stroke.points]
        painted = of_line(points, stroke.width * width / 2, height, width)
        area = area * (1 - painted) if stroke.erase else torch.maximum(area, painted)
    return area


def pixel(point: Point, height: int, width: int) -> Point:
    """The pixel of a point in fractions of the picture: 0 and 1 are its edges, half a pixel outside."""
    return point[0] * width - 0.5, point[1] * height - 0.5
