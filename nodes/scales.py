"""Guidance over the frames of a node: a shape, or the list or the curve in its text."""

from collections.abc import Callable, Sequence

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..clips import curve
from ..clips.presets import SVD_XT
from ..samplers import guidance
from .inputs import setting
from .page import CURVE

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


def guidance_inputs(shapes: Sequence[str] = SHAPES) -> list:
    """The guidance of each frame."""
    return [
        setting(
            "guidance",
            "shape",
            options=list(shapes),
            default=SVD_XT.guidance,
            tooltip="linear for SVD, triangle for SV3D; constant is the max; list takes the scales below.",
        ),
        setting("min_guidance", default=SVD_XT.min_guidance, tooltip="Where it is lowest."),
        setting("max_guidance", default=SVD_XT.max_guidance, tooltip="Where it is highest."),
        io.String.Input(
            "scales",
            default="",
            advanced=True,
            tooltip="For the shape list: a scale for each frame, as in 1, 2, 3, or a curve of positions and "
            f"scales, as in {curve.EXAMPLE}.",
            extra_dict=CURVE,
        ),
    ]
