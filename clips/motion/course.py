"""The course of a clip: the coarse video that it follows, where it does, and where it stays the picture."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..run import Constraint
from . import masks
from .coarse import Sources, coarse
from .tracks import Motion

FADE = 4
"""Half the pixels over which a picture that is pasted back fades out around its area."""


@dataclass(frozen=True)
class Course:
    """What a clip follows; `frames` and `mask` are None where nothing moves, `frozen` where nothing stays."""

    frames: Tensor | None  # (T, 3, H, W) in [−1, 1]
    mask: Tensor | None  # (T or 1, 1, h, w) from 0 to 1, at the latents' size
    frozen: Tensor | None  # (1, 1, H, W) from 0 to 1


@dataclass(frozen=True)
class Paste:
    """A picture to lay over decoded frames, (1, 3, H, W) in [−1, 1], where `area` is 1, (1, 1, H, W)."""

    picture: Tensor
    area: Tensor

    def over(self, frames: Tensor) -> Tensor:
        """Frames, (…, 3, H, W) in [−1, 1], with the picture over them."""
        return torch.lerp(frames, self.picture.to(frames), self.area.to(frames))


def of_motion(
    motion: Motion, picture: Tensor, num_frames: int, sources: Sources, frozen: Tensor | None = None
) -> Course:
    """The course of a picture, (1, 3, H, W) in [−1, 1], that a motion says.

    sources: the pictures that the motion names. frozen: a further area, (1, 1, H, W). Raises ValueError for
    a region without a pixel.
    """
    video = coarse(motion, (picture[0] + 1) / 2, num_frames, sources)
    frozen = video.frozen if frozen is None else torch.maximum(video.frozen, frozen)
    frozen = frozen if frozen.any() else None
    if not video.mask.any():
        return Course(None, None, frozen)
    return Course(video.frames * 2 - 1, masks.touched(video.mask), frozen)


def of_video(frames: Tensor, mask: Tensor) -> Course:
    """The course that a coarse video and its mask say, (T, 3, H, W) and (T or 1, 3, H, W), in [−1, 1].

    Raises ValueError for a mask without a pixel.
    """
    pixels = masks.of_video((mask + 1) / 2)
    held = masks.nearest(pixels, (frames.shape[2] // masks.DOWNSCALE, frames.shape[3] // masks.DOWNSCALE))
    if not held.any():
        lost = ", and strokes thinner than 8 pixels are lost at the latents' size" if pixels.any() else ""
        raise ValueError(f"the motion mask is black{lost}; paint white where the motion is followed.")
    return Course(frames, held, None)


def constraint_of(course: Course, moved: Tensor | None, still: Tensor | None, until: float) -> Constraint:
    """The constraint of a course whose frames and picture are encoded, (T, 4, h, w) and (1, 4, h, w).

    A frozen part goes before a moved one, by its share of each 8×8 pixels.
    """
    if course.frozen is None:
        return Constraint(moved, course.mask, until)
    frozen = masks.shares(course.frozen)
    if moved is None:
        return Constraint(still, frozen, 0.0, leads=False)
    mask = torch.maximum(course.mask, frozen)
    share = torch.where(frozen > 0, frozen / mask.clamp(min=torch.finfo(mask.dtype).tiny), frozen)
    return Constraint(torch.lerp(moved, still, share), mask, until, frozen)


def paste_of(course: Course, picture: Tensor) -> Paste | None:
    """The picture to lay over the frames of a course: whole in its frozen part, and fading out around it."""
    if course.frozen is None:
        return None
    size = 2 * FADE + 1
    wider = functional.max_pool2d(course.frozen, size, stride=1, padding=FADE)
    area = functional.avg_pool2d(wider, size, stride=1, padding=FADE, count_include_pad=False)
    return Paste(picture, torch.maximum(area.clamp(max=1), course.frozen))
