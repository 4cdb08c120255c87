"""The coarse video of a motion: what the clip is held to, cut out of the picture and moved."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from . import areas, camera
from .tracks import FREEZE, Camera, Motion, Region
from .warp import Layer, Pose, along, drawn, filled, origin_of

Sources = Mapping[str | int, Tensor]
"""Pictures that a motion names, (1, H, W) in [0, 1], at the picture's size."""


@dataclass(frozen=True)
class Coarse:
    """A coarse video of a picture."""

    frames: Tensor  # (T, C, H, W)
    mask: Tensor  # (T, 1, H, W), 1 where the motion says what is seen
    frozen: Tensor  # (1, 1, H, W), 1 where the picture stays as it is


def coarse(motion: Motion, picture: Tensor, num_frames: int, sources: Sources) -> Coarse:
    """The coarse video of a picture, (C, H, W); raises ValueError for a region without a pixel."""
    height, width = picture.shape[1:]
    layers, frozen = [], torch.zeros(1, 1, height, width, dtype=picture.dtype, device=picture.device)
    for region in motion.regions:
        area = area_of(region, height, width, sources).to(picture)
        if region.kind == FREEZE:
            frozen = torch.maximum(frozen, area[None])
        else:
            origin = origin_of(area)
            layers.append(Layer(area, origin, _poses(region, origin, num_frames, height, width)))
    places = [layer.mask for layer in layers]
    empty = torch.zeros(1, height, width, dtype=picture.dtype, device=picture.device)
    background = filled(picture, 1 - torch.stack([empty, *places]).amax(0)) if places else picture
    frames, mask = _filmed(motion.camera, background, num_frames, sources)
    if layers:
        frames, above = drawn(picture, frames, layers)
        mask = torch.maximum(mask, above)
    return Coarse(frames, mask, frozen)


def area_of(region: Region, height: int, width: int, sources: Sources) -> Tensor:
    """The area of a region, (1, H, W) of 0 and 1; raises ValueError for one without a pixel."""
    area = torch.zeros(1, height, width, dtype=torch.float32, device="cpu")
    if region.polygon:
        points = [areas.pixel(point, height, width) for point in region.polygon]
        area = areas.of_polygon(points, height, width)
    if region.mask is not None:
        area = torch.maximum(area, (sources[region.mask] > 0.5).to(area))
    area = areas.brushed(area, region.strokes)
    if not area.any():
        raise ValueError(f"{region.id} has no pixel of the picture in its area; draw it larger, or inside.")
    return area


def _poses(
    region: Region, origin: tuple[float, float], num_frames: int, height: int, width: int
) -> list[Pose]:
    """Poses of a region by frames; in frame 0 it is where the picture has it."""
    if not region.path:
        return [Pose(*origin)] * num_frames
    first = region.path[0]
    keys = [
        Pose(
            origin[0] + width * (key.x - first.x),
            origin[1] + height * (key.y - first.y),
            key.scale / first.scale,
            key.degrees - first.degrees,
        )
        for key in region.path
    ]
    times = None if first.time is None else [key.time for key in region.path]
    return along(keys, num_frames, times)


def _filmed(moved: Camera, picture: Tensor, num_frames: int, sources: Sources) -> tuple[Tensor, Tensor]:
    """The background's video, and where it is held: where the camera moves it."""
    height, width = picture.shape[1:]
    if not moved.moves:
        still = picture.expand(num_frames, *picture.shape)
        return still, torch.zeros_like(still[:, :1])
    pan = moved.pan[0] * width, moved.pan[1] * height
    if moved.nearness is not None:
        nearness = sources[moved.nearness] - moved.pivot
        return camera.parallax(picture, nearness, num_frames, pan, moved.ease)
    return camera.flat(picture, num_frames, pan, moved.zoom, moved.roll, moved.ease)
