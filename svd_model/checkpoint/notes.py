"""Notes of a small checkpoint about itself: sizes, and the colours of its latents.

They are in the metadata of the file's header. A host writes that header itself, so a copy that it saves has
them as tensors.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .layouts import released
from .sources import CheckpointError, TensorFile

METADATA_KEY = "stillmotion"
"""The key of Stillmotion's JSON object in metadata: notes here, settings in latents and clips."""

VISION_HEAD_WIDTH = "vision_head_width"
LATENT_RGB = "latent_rgb"
NOTES = ("num_frames", "width", "height", "head_channels", VISION_HEAD_WIDTH, LATENT_RGB)
_MOST_NUMBERS = 64  # in a note
_LARGEST_SIZE = 8192


@dataclass(frozen=True)
class LatentColours:
    """Colours of latents to first order: RGB in [−1, 1] ≈ factorsᵀ·z + bias, for scaled latents z.

    Fitted by training/latent_colours.py.
    """

    factors: tuple[tuple[float, ...], ...]  # (z_channels, 3)
    bias: tuple[float, ...]

    @classmethod
    def of_rows(cls, rows, channels: int) -> "LatentColours | None":
        """Reads a note: a row of three for each channel, then the bias; None for any other value."""
        try:
            numbers = tuple(tuple(float(number) for number in row) for row in rows)
        except (TypeError, ValueError, OverflowError):
            return None
        fits = len(numbers) == channels + 1 and all(len(row) == 3 for row in numbers)
        if not fits or not all(math.isfinite(number) for row in numbers for number in row):
            return None
        return cls(numbers[:-1], numbers[-1])


def read(file: TensorFile) -> dict:
    """Reads the notes of a file: from its tensors, and first of all from its metadata."""
    notes = {name: _numbers(file, key) for name in NOTES for key in _keys(name) if key in file.shapes}
    return {name: value for name, value in notes.items() if value is not None} | file.json_metadata(
        METADATA_KEY
    )


def of_parts(unet: TensorFile, image_encoder: TensorFile) -> dict:
    """Notes of a checkpoint with parts of two files: each file's on its own part."""
    notes, tower = read(unet), read(image_encoder)
    notes.pop(VISION_HEAD_WIDTH, None)
    return notes | {name: tower[name] for name in (VISION_HEAD_WIDTH,) if name in tower}


def size(notes: Mapping, key: str, path: Path) -> int | None:
    """A size from notes, None where they don't give it; raises CheckpointError for no number in range."""
    number = notes.get(key)
    if number is None or (type(number) is int and 1 <= number <= _LARGEST_SIZE):
        return number
    raise CheckpointError(
        f"{path}: its metadata gives {key} as {number!r}; a whole number from 1 to "
        f"{_LARGEST_SIZE} is expected."
    )


def as_tensors(notes: Mapping) -> dict[str, Tensor]:
    """Writes notes as tensors to save beside weights; float32, which all tools keep."""
    return {
        released.NOTES + name: torch.tensor(notes[name], dtype=torch.float32, device="cpu")
        for name in NOTES
        if name in notes
    }


def _keys(name: str) -> tuple[str, str]:
    """Keys of a note: at the top level of the file, and in its image tower."""
    return released.NOTES + name, released.VISION + released.NOTES + name


def _numbers(file: TensorFile, key: str) -> int | float | list | None:
    """Numbers of a small tensor, a whole one as an int."""
    if math.prod(file.shapes[key]) > _MOST_NUMBERS or isinstance(file.dtypes[key], str):
        return None
    value = file.read(key).tolist()
    return int(value) if isinstance(value, float) and value.is_integer() else value
