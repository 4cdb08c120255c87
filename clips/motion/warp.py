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
    rows, columns = mask[0].any(1).nonzero(), mask[0].any(0).nonzero()
    if not len(rows):
        raise ValueError("the mask is empty; paint where the part is.")
    return float(columns[0] + columns[-1]) / 2, float(rows[0] + rows[-1]) / 2


def drawn(picture: Tensor, background: Tensor, layers: Sequence[Layer]) -> tuple[Tensor, Tensor]:
    """The coarse video of layers over a background, first to last, and the mask of where any of them is.

    background: a picture, or a video of as many frames.
    """
    num_frames = len(layers[0].poses)
    video = background.expand(num_frames, *picture.shape).clone()
    mask = torch.zeros(num_frames, 1, *picture.shape[1:], dtype=torch.bool, device=picture.device)
    for frame in range(num_frames):
        for layer in layers:
            x, y = sources(picture.shape[1:], layer.poses[frame], layer.origin, picture.device)
            covered = _nearest(layer.mask, x, y)
            video[frame] = torch.where(covered, bilinear(picture, x, y), video[frame])
            mask[frame] |= covered
    return video, mask.to(picture.dtype)


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
    size: Sequence[int], pose: Pose, origin: tuple[float, float], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Where in the picture each pixel of a frame comes from: x and y, (H, W) each."""
    x, y = places(range(size[0]), range(size[1]), device)
    x, y = (x - pose.x) / pose.scale, (y - pose.y) / pose.scale
    cosine, sine = math.cos(math.radians(pose.degrees)), math.sin(math.radians(pose.degrees))
    return cosine * x + sine * y + origin[0], cosine * y - sine * x + origin[1]


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
