"""Guidance over the frames of a node: a shape, or the list or the curve in its text."""

from collections.abc import Callable

from torch import Tensor

from ..clips import curve
from ..samplers import guidance

LIST = "list"
SHAPES = [*guidance.SHAPES, LIST]


def over_frames(shape: str, lowest: float, highest: float, scales: str) -> Callable[[int], Tensor]:
    """The scales of any number of frames, (T,); raises ValueError for a text that says none."""
    if shape != LIST:
        return lambda num_frames: guidance.SHAPES[shape](num_frames, lowest, highest)
    try:
        return curve.parse(scales).scales
    except ValueError as error:
        raise ValueError(f"scales {error}") from None
