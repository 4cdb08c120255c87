"""The picture at the size of the clip: from float pixels in [0, 1], with one resize.

The steps are centre_object (SV3D), over_white, fit_picture; to_canvas does all of them.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from .canvas import FITS


def to_canvas(picture: Tensor, width: int, height: int, fit: str = "crop", cut_out: bool = False) -> Tensor:
    """(3 or 4, H, W) in [0, 1] -> (1, 3, height, width) in [−1, 1], float32 on the CPU.

    Transparency becomes white. cut_out, for SV3D: the object goes to the middle, and the bars of "pad" are
    white, too. Values outside of [0, 1] are clamped. Raises ValueError as the steps do.
    """
    picture = picture.detach().to("cpu", torch.float32).clamp(0, 1)
    if cut_out:
        picture = centre_object(picture)
    background = 1.0 if cut_out else 0.0
    return fit_picture(over_white(picture), width, height, fit, background)[None] * 2 - 1


def centre_object(picture: Tensor) -> Tensor:
    """Moves the visible pixels to the middle of a transparent square, as SV3D was trained.

    The square's side is the picture's longer side, so the object keeps its size in pixels. A picture without
    any transparency stays. Raises ValueError where nothing is visible.
    """
    _check(picture, (3, 4))
    if picture.shape[0] == 3 or bool((picture[3] == 1).all()):
        return picture
    visible = picture[3] > 0
    if not visible.any():
        raise ValueError("the picture is fully transparent. Use one in which the object can be seen.")
    (top, bottom), (left, right) = _ends(visible.any(1)), _ends(visible.any(0))
    side = max(picture.shape[1:])
    square = picture.new_zeros(4, side, side)
    x, y = (side - (right - left)) // 2, (side - (bottom - top)) // 2
    square[:, y : y + bottom - top, x : x + right - left] = picture[:, top:bottom, left:right]
    return square


def over_white(picture: Tensor) -> Tensor:
    """Lays (4, H, W) over white, (3, H, W); a picture without alpha stays."""
    _check(picture, (3, 4))
    if picture.shape[0] == 3:
        return picture
    colour, alpha = picture[:3], picture[3:]
    return colour * alpha + (1 - alpha)


def fit_picture(
    picture: Tensor, width: int, height: int, fit: str = "crop", background: float = 0.0
) -> Tensor:
    """Brings (3, H, W) to (3, height, width) with one Lanczos resize, clamped to [0, 1].

    "crop" covers the size and cuts both edges alike, "pad" fits inside it, centred between bars of
    `background`, and "stretch" ignores the proportions. A picture of the wanted size stays. Raises ValueError
    for a size below 1 and an unknown `fit`.
    """
    _check(picture, (3,))
    if width < 1 or height < 1:
        raise ValueError(f"the size is {width}×{height}; at least 1×1 is accepted.")
    if fit not in FITS:
        raise ValueError(f"fit is {fit!r}; accepted are {', '.join(FITS)}.")
    rows, columns = picture.shape[1:]
    if (columns, rows) == (width, height):
        return picture
    # Proportions of picture and target, compared in whole numbers.
    across, down = columns * height, rows * width
    if fit == "pad":
        inner_width = min(width, max(1, round(across / rows)))
        inner_height = min(height, max(1, round(down / columns)))
        left, top = (width - inner_width) // 2, (height - inner_height) // 2
        bars = (left, width - inner_width - left, top, height - inner_height - top)
        inner = _resize(picture, inner_width, inner_height, (0, 0, columns, rows))
        return functional.pad(inner, bars, value=background)
    left = top = 0.0
    if fit == "crop":  # by the box of the resize, which is exact to fractions of a pixel
        left, top = max(0, columns - down / height) / 2, max(0, rows - across / width) / 2
    return _resize(picture, width, height, (left, top, columns - left, rows - top))


def _resize(picture: Tensor, width: int, height: int, box: tuple[float, float, float, float]) -> Tensor:
    """Resizes the part of a picture in a box (left, top, right, bottom), a channel at a time, in floats."""
    channels = []
    for channel in picture.numpy():
        image = Image.fromarray(np.ascontiguousarray(channel))  # of mode "F"
        channels.append(np.array(image.resize((width, height), Image.Resampling.LANCZOS, box=box)))
    return torch.from_numpy(np.stack(channels)).clamp(0, 1)


def _ends(flags: Tensor) -> tuple[int, int]:
    """Index of the first True, and the index behind the last."""
    places = flags.nonzero()
    return int(places[0]), int(places[-1]) + 1


def _check(picture: Tensor, channels: tuple[int, ...]) -> None:
    if picture.ndim != 3 or picture.shape[0] not in channels or 0 in picture.shape:
        accepted = " or ".join(map(str, channels))
        raise ValueError(f"the picture is {tuple(picture.shape)}; ({accepted}, height, width) is accepted.")
