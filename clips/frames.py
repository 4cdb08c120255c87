"""Pictures for the frames of a clip, of a ControlNet or a coarse video: one for each, or one for all."""

import itertools
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

Picture = TypeVar("Picture")


def one_each(
    pictures: Iterable[Picture],
    num_frames: int,
    most: int,
    fit: Callable[[Picture], Tensor],
    what: str,
    alone: bool = True,
) -> Tensor:
    """A fitted picture for each frame: as many as came, or a single one for all, (T, 3, height, width).

    Raises ValueError for another number, in which `what` names the pictures. `most` bounds how many are
    counted; no more than frames are held. alone: whether a single one may stand for all.
    """
    fitted, count = [], 0
    for count, picture in enumerate(itertools.islice(pictures, most + 1), start=1):
        if count <= num_frames:
            fitted.append(fit(picture))
    if count == 1 and (alone or num_frames == 1):
        return fitted[0].expand(num_frames, -1, -1, -1)
    if count != num_frames:
        came = f"more than {most}" if count > most else count
        single = ", or a single picture for all of them" if alone else ""
        raise ValueError(f"there are {came} {what} for a clip of {num_frames} frames; give as many{single}.")
    return torch.cat(fitted)
