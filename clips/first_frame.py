"""The first frame of a clip as the picture itself, and how the decoded frames after it follow from it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

OFF, EXACT = "off", "exact"

LARGEST_TONE = 0.25
"""The most that colours change, in the range of [−1, 1]: more is no colour of a decoder's."""

DETAIL_FRAMES = 10
"""Frames within which the picture's detail gives way to a frame's own.

Measured on the built-in model: over fewer frames the detail goes in a visible step, over more it lies on
parts that have moved on.
"""

_BLURS = 16  # radii in a side of the picture


@dataclass(frozen=True)
class FirstFrame:
    """A picture in place of the first frame, (1, 3, H, W) in [−1, 1], and what it does to the others.

    The difference to the decoded first frame is tone, which is smooth and bounded, and detail. tone, detail:
    their shares in each frame, (T,), float32.
    """

    picture: Tensor
    tone: Tensor
    detail: Tensor

    def over(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Decoded frames, (3, H, W) in [−1, 1] each, one by one, with the picture as the first."""
        frames = iter(frames)
        first = next(frames)
        picture = self.picture[0].to(first)
        yield picture
        tone = smooth((picture - first)[None])[0].clamp(-LARGEST_TONE, LARGEST_TONE)
        detail = picture - first - tone
        shares = zip(self.tone.tolist()[1:], self.detail.tolist()[1:], strict=True)
        for frame, (of_tone, of_detail) in zip(frames, shares, strict=True):
            yield frame + of_tone * tone + of_detail * detail


def led_from(
    picture: Tensor, num_frames: int, ring: bool = False, next_picture: int | None = None
) -> FirstFrame:
    """The first frame of a clip of so many, and its shares.

    ring: whether the last frame comes before the first, and so is led to it too. next_picture: the frame of
    another picture, at which the tone has gone, which is the first picture's alone.
    """
    frames = torch.arange(num_frames, dtype=torch.float32, device="cpu")
    tone = torch.ones_like(frames)
    if next_picture is not None:
        tone = (1 - frames / next_picture).clamp(min=0)
    away = torch.minimum(frames, num_frames - frames) if ring else frames
    gone = (away / min(DETAIL_FRAMES, next_picture or DETAIL_FRAMES)).clamp(max=1)
    return FirstFrame(picture, tone, 1 - gone**2 * (3 - 2 * gone))


def smooth(pixels: Tensor) -> Tensor:
    """Pixels, (N, C, H, W), without detail: two means over squares, of an eighth of the shorter side."""
    radius = max(1, min(pixels.shape[2:]) // _BLURS)
    for _ in range(2):
        padded = functional.pad(pixels, (radius,) * 4, mode="replicate")
        pixels = functional.avg_pool2d(padded, 2 * radius + 1, stride=1)
    return pixels
