"""Scales over frames in words: one number a frame, or the points of a curve for any number of frames.

A list is `1, 2, 3`. A curve is `0:1, 0.5:3, 1:1.5`: positions, 0 being the first frame and 1 the last one,
with their values. The word `smooth` behind it rounds its corners; `linear` is the default.
"""

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..samplers import guidance
from ..samplers.scales import between_points
from .fields import NameOrNumbers, shortened

FEWEST_POINTS, MOST_POINTS = 2, 64
LOWEST, HIGHEST = -100, 100
LONGEST = 65_536
"""Characters of a list or a curve."""

LINEAR, SMOOTH = "linear", "smooth"
EXAMPLE = "0:1, 0.5:3, 1:1.5 smooth"

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WORD = re.compile(rf"\s({LINEAR}|{SMOOTH})$")


@dataclass(frozen=True)
class Curve:
    """Points of a curve over the frames of a clip."""

    positions: tuple[float, ...]  # rising, from 0 to 1
    values: tuple[float, ...]
    smooth: bool = False

    def scales(self, num_frames: int) -> Tensor:
        """The value of each frame, (T,)."""
        return between_points(num_frames, self.positions, self.values, self.smooth)


@dataclass(frozen=True)
class Listed:
    """One number for each frame."""

    values: tuple[float, ...]

    def scales(self, num_frames: int) -> Tensor:
        """The value of each frame, (T,); raises ValueError for another number of frames."""
        return guidance.listed(num_frames, self.values)


class NameOrScales(NameOrNumbers):
    """One of several names, a list of numbers, or the text of a curve."""

    def complaints(self, value) -> Iterator[str]:
        """A sentence for each fault of a value, without its subject."""
        if not (isinstance(value, str) and is_curve(value)):
            yield from super().complaints(value)
            return
        try:
            parse(value)
        except ValueError as error:
            yield str(error)


def is_curve(text: str) -> bool:
    """Whether a text is meant as a curve, right or wrong."""
    return ":" in text


def parse(text: str) -> Curve | Listed:
    """The curve or the list in a text.

    Raises ValueError, one sentence without its subject, which is the input's name.
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise ValueError(f"has {len(text):,} characters; at most {LONGEST:,} are read.")
    if not is_curve(text):
        return _listed(text)
    word = _WORD.search(text)
    pairs = (text[: word.start()] if word else text).split(",")
    if not FEWEST_POINTS <= len(pairs) <= MOST_POINTS:
        raise ValueError(
            f"has {len(pairs)} points; a curve has {FEWEST_POINTS} to {MOST_POINTS}, as in {EXAMPLE}."
        )
    points = [_point(pair.strip(), number) for number, pair in enumerate(pairs, start=1)]
    positions, values = zip(*points, strict=True)
    for number, (position, later) in enumerate(itertools.pairwise(positions), start=2):
        if later <= position:
            raise ValueError(
                f"has point {number} at {later:g}, and the one in front of it at {position:g}; give "
                "positions that rise."
            )
    return Curve(positions, values, bool(word) and word[1] == SMOOTH)


def _listed(text: str) -> Listed:
    parts = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
    values = tuple(float(part) if _NUMBER.fullmatch(part) else math.nan for part in parts)
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(
            f"is {shortened(text)}; give a number for each frame, as in 1, 2.5, 3, or points of position and "
            f"value, as in {EXAMPLE}."
        )
    return Listed(values)


def _point(pair: str, number: int) -> tuple[float, float]:
    position, _, value = (part.strip() for part in pair.partition(":"))
    if not _NUMBER.fullmatch(position) or not _NUMBER.fullmatch(value):
        raise ValueError(
            f"has as point {number} {shortened(pair)}; a point is a position and a value, as in {EXAMPLE}."
        )
    if not 0 <= float(position) <= 1:
        raise ValueError(f"has point {number} at {position}; give a position from 0 to 1.")
    if not LOWEST <= float(value) <= HIGHEST:
        raise ValueError(f"has {value} at point {number}; give a value from {LOWEST} to {HIGHEST}.")
    return float(position), float(value)
