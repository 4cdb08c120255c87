"""Camera moves over one picture: pan, zoom and roll of a flat one, and parallax by nearness."""

import torch
from torch import Tensor

from .warp import Pose, bilinear, filled, places, sources

LINEAR = "linear"
EASES = {LINEAR: lambda share: share, "smooth": lambda share: share**2 * (3 - 2 * share)}
"""How the way of a camera is spread over time, from 0 to 1."""


def flat(
    picture: Tensor,
    num_frames: int,
    pan: tuple[float, float],
    zoom: float = 1.0,
    roll: float = 0.0,
    ease: str = LINEAR,
) -> tuple[Tensor, Tensor]:
    """The video of a camera over a flat picture, and the mask of where the picture reaches.

    pan: in pixels, the way the picture goes by the last frame. zoom: its last size. roll: in degrees. ease:
    of EASES.
    """
    height, width = picture.shape[1:]
    origin = (width - 1) / 2, (height - 1) / 2
    frames, masks = [], []
    for share in shares(num_frames, ease):
        pose = Pose(origin[0] + share * pan[0], origin[1] + share * pan[1], zoom**share, share * roll)
        x, y = sources(range(height), range(width), pose, origin, picture.device)
        frames.append(bilinear(picture, x, y))
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        masks.append(inside[None].to(picture.dtype))
    return torch.stack(frames), torch.stack(masks)


def parallax(
    picture: Tensor, nearness: Tensor, num_frames: int, shift: tuple[float, float], ease: str = LINEAR
) -> tuple[Tensor, Tensor]:
    """The video of a camera that goes sideways, and the mask of where no hole is; holes are filled.

    nearness: (1, H, W) from 0, far, to 1, which moves by the whole shift, x and y in pixels, by the last
    frame. Where several pixels meet, the nearest is seen.
    """
    height, width = picture.shape[1:]
    x, y = places(range(height), range(width), picture.device)
    nearness = nearness[0].to(torch.float64)
    order = nearness.flatten().argsort(stable=True)  # the nearest comes last
    rank = torch.arange(len(order), dtype=torch.int64, device=picture.device)
    frames, masks = [], []
    for share in shares(num_frames, ease):
        column = (x + share * shift[0] * nearness + 0.5).floor().long().flatten()[order]
        row = (y + share * shift[1] * nearness + 0.5).floor().long().flatten()[order]
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        best = torch.full((height * width,), -1, dtype=torch.int64, device=picture.device)
        best.scatter_reduce_(0, row[inside] * width + column[inside], rank[inside], "amax")
        seen = (best >= 0).view(1, height, width)
        moved = picture.flatten(1)[:, order[best.clamp(min=0)]].view_as(picture)
        masks.append(seen.to(picture.dtype))
        frames.append(filled(moved, masks[-1]))
    return torch.stack(frames), torch.stack(masks)


def shares(num_frames: int, ease: str) -> list[float]:
    """How much of its way a camera has gone, by frames."""
    return [EASES[ease](frame / max(num_frames - 1, 1)) for frame in range(num_frames)]
