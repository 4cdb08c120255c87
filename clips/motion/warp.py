"""Warps: a part of a picture along a path of poses, and what lay behind it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Pose(NamedTuple):
    """Where a part's origin is, in pixels, how much larger it is, and how far it is turned."""

    x: float
    y: float
    scale: float = 1.0
    degrees: float = 0.0


class Layer(NamedTuple):
    """A part of a picture, and its way."""

    mask: Tensor  # (1, H, W), where it is in the picture
    origin: tuple[float, float]  # x, y
    poses: Sequence[Pose]  # of each frame


def along(keys: Sequence[Pose], num_frames: int, times: Sequence[float] | None = None) -> list[Pose]:
    """The pose of each frame on the way through two keys or more; scales go geometrically.

    times: of the keys, from 0 to 1 and rising, by default evenly spaced. Outside of them a path stands still.
    """
    last = len(keys) - 1
    times = [key / last for key in range(last + 1)] if times is None else times
    poses = []
    for frame in range(num_frames):
        time = frame / max(num_frames - 1, 1)
        after = next((key for key in range(1, last) if times[key] > time), last)
        start, end = keys[after - 1], keys[after]
        share = min(max((time - times[after - 1]) / (times[after] - times[after - 1]), 0.0), 1.0)
        x, y, degrees = (
            getattr(start, name) + share * (getattr(end, name) - getattr(start, name))
            for name in ("x", "y", "degrees")
        )
        poses.append(Pose(x, y, start.scale * (end.scale / start.scale) ** share, degrees))
    return poses


def origin_of(mask: Tensor) -> tuple[float, float]:
    """The centre of a mask's bounding box, x and y; raises ValueError for an empty mask."""
    left, right, top, bottom = _box(mask)
    return (left + right) / 2, (top + bottom) / 2


def _box(mask: Tensor) -> tuple[int, int, int, int]:
    """The first and last column, and the first and last row of a mask; ValueError for an empty one."""
    rows, columns = mask[0].any(1).nonzero(), mask[0].any(0).nonzero()
    if not len(rows):
        raise ValueError("the mask is empty; paint where the part is.")
    return int(columns[0]), int(columns[-1]), int(rows[0]), int(rows[-1])


def drawn(picture: Tensor, background: Tensor, layers: Sequence[Layer]) -> tuple[Tensor, Tensor]:
    """The coarse video of layers over a background, first to last, and the mask of where any of them is.

    background: a picture, or a video of as many frames.
    """
    num_frames = len(layers[0].poses)
    video = background.expand(num_frames, *picture.shape).clone()
    mask = torch.zeros(num_frames, 1, *picture.shape[1:], dtype=torch.bool, device=picture.device)
    for layer in layers:
        box = _box(layer.mask)
        for frame, pose in enumerate(layer.poses):
            rows, columns = _reached(box, layer.origin, pose, picture.shape[1:])
            x, y = sources(rows, columns, pose, layer.origin, picture.device)
            covered = _nearest(layer.mask, x, y)
            part = (slice(None), slice(rows.start, rows.stop), slice(columns.start, columns.stop))
            video[frame][part] = torch.where(covered, bilinear(picture, x, y), video[frame][part])
            mask[frame][part] |= covered
    return video, mask.to(picture.dtype)


def _reached(
    box: tuple[int, int, int, int], origin: tuple[float, float], pose: Pose, size: Sequence[int]
) -> tuple[range, range]:
    """Rows and columns of a frame that a part's box may reach: few, where parts are many."""
    left, right, top, bottom = box
    cosine, sine = _turn(pose)
    corners = [
        (x - origin[0], y - origin[1]) for x in (left - 0.5, right + 0.5) for y in (top - 0.5, bottom + 0.5)
    ]
    across = [pose.x + pose.scale * (cosine * x - sine * y) for x, y in corners]
    down = [pose.y + pose.scale * (sine * x + cosine * y) for x, y in corners]
    return pixels(min(down), max(down), size[0]), pixels(min(across), max(across), size[1])


def pixels(low: float, high: float, count: int) -> range:
    """Pixels of a side of `count` that a stretch of it may reach."""
    start = min(max(math.floor(low), 0), count)
    return range(start, max(min(math.ceil(high) + 1, count), start))


def filled(picture: Tensor, valid: Tensor) -> Tensor:
    """A picture whose unknown pixels follow the known ones about them, from coarse to fine.

    valid: (1, H, W) of 0 and 1. A picture without any known pixel becomes 0.
    """
    if bool(valid.all()) or max(picture.shape[1:]) == 1:
        return picture * valid
    height, width = picture.shape[1:]
    odd = (0, width % 2, 0, height % 2)
    total, count = (
        4 * functional.avg_pool2d(functional.pad(part[None], odd), 2)[0] for part in (picture * valid, valid)
    )
    coarse = filled(total / count.clamp(min=1), (count > 0).to(valid))
    fine = functional.interpolate(coarse[None], scale_factor=2, mode="bilinear", align_corners=False)[0]
    return torch.where(valid > 0, picture, fine[:, :height, :width])


def places(rows: range, columns: range, device: torch.device) -> tuple[Tensor, Tensor]:
    """The places of pixels, x and y, float64, (rows, columns) each."""
    options = {"dtype": torch.float64, "device": device}
    y, x = (torch.arange(side.start, side.stop, **options) for side in (rows, columns))
    y, x = torch.meshgrid(y, x, indexing="ij")
    return x, y


def sources(
    rows: range, columns: range, pose: Pose, origin: tuple[float, float], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Where in the picture each pixel of a frame comes from: x and y, (rows, columns) each."""
    x, y = places(rows, columns, device)
    x, y = (x - pose.x) / pose.scale, (y - pose.y) / pose.scale
    cosine, sine = _turn(pose)
    return cosine * x + sine * y + origin[0], cosine * y - sine * x + origin[1]


def _turn(pose: Pose) -> tuple[float, float]:
    """Cosine and sine of a pose's angle."""
    return math.cos(math.radians(pose.degrees)), math.sin(math.radians(pose.degrees))


def bilinear(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The picture at places, (C, H, W); its edge goes on outside."""
    height, width = picture.shape[1:]
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    left, top = x.floor().long().clamp(max=max(width - 2, 0)), y.floor().long().clamp(max=max(height - 2, 0))
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    across, down = (x - left).to(picture.dtype), (y - top).to(picture.dtype)
    upper = torch.lerp(picture[:, top, left], picture[:, top, right], across)
    lower = torch.lerp(picture[:, bottom, left], picture[:, bottom, right], across)
    return torch.lerp(upper, lower, down)


def _nearest(mask: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Where a mask is set at places, (1, H, W) bool; nowhere outside of it."""
    height, width = mask.shape[1:]
    column, row = (x + 0.5).floor().long(), (y + 0.5).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return inside & (mask[:, row.clamp(0, height - 1), column.clamp(0, width - 1)] > 0)
