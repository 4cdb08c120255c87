"""Latents of a clip in a file, so that sampling and decoding can be done apart."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ...clips.canvas import LARGEST_SIDE
from ...clips.choices import MOST_FRAMES
from ...clips.first_frame import FirstFrame
from ...clips.motion.course import Paste
from ...svd_model.checkpoint.notes import METADATA_KEY
from ...svd_model.checkpoint.sources import AnotherFileWanted, CheckpointError, TensorFile
from . import destinations
from .destinations import OutputError

KEY, PICTURE_KEY, AREA_KEY = "latents", "picture", "pasted_area"
FIRST_KEY, SHARES_KEY = "first_frame", "shares_of_first_frame"
_REMEDY = "give a file of latents that Stillmotion saved."


@dataclass(frozen=True)
class SavedLatents:
    """Content of a file of latents."""

    latents: Tensor  # float32, (T, 4, h, w), in the diffusion model's scale
    picture: Tensor | None  # float32, (1, 3, H, W), on which an orbit ends
    notes: dict  # the settings that made them; {} in a file without metadata
    paste: Paste | None = None  # over the decoded frames
    first: FirstFrame | None = None  # in place of the first decoded one


def check_destination(path: Path, overwrite: bool = False) -> Path:
    """Resolves a path, and raises OutputError where `save` would fail; leaves nothing behind."""
    if path.suffix.lower() != ".safetensors":
        raise OutputError(f"{path}: latents are saved as .safetensors; give the name that ending.")
    final = destinations.real(path)
    destinations.check_parent(final)
    destinations.check_free(final, overwrite)
    return final


def save(
    path: Path,
    latents: Tensor,
    notes: dict | None,
    picture: Tensor | None = None,
    paste: Paste | None = None,
    first: FirstFrame | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Writes latents, and the last picture of an orbit, or the one to paste; never leaves an unfinished file.

    first: the first frame of the decoded clip. Without `overwrite` an existing file stays, and OutputError
    names the new one.
    """
    final = destinations.real(path)
    tensors = {KEY: latents.contiguous()}
    if picture is not None:
        tensors[PICTURE_KEY] = picture.contiguous()
    if paste is not None:
        tensors |= {PICTURE_KEY: paste.picture.contiguous(), AREA_KEY: paste.area.contiguous()}
    if first is not None:
        shares = torch.stack([first.tone, first.detail])
        tensors |= {FIRST_KEY: first.picture.contiguous().clone(), SHARES_KEY: shares}
    metadata = None if notes is None else {METADATA_KEY: json.dumps(notes, sort_keys=True)}
    try:
        with destinations.replacing(final, overwrite) as partial:
            partial.touch()
            mode = partial.stat().st_mode
            save_file(tensors, partial, metadata=metadata)
            partial.chmod(mode)  # safetensors lets nobody else read it
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path} can't be written: {reason}.") from error


def read(path: Path) -> SavedLatents:
    """Reads a file that `save` wrote; raises CheckpointError for another file."""
    try:
        file = TensorFile.open(path)
    except AnotherFileWanted as error:
        raise AnotherFileWanted(error.found, _REMEDY) from error
    shape = file.shapes.get(KEY)
    if shape is None or len(shape) != 4 or file.dtypes[KEY] != torch.float32:
        raise AnotherFileWanted(
            f"{path} holds no latents of Stillmotion (a float32 tensor '{KEY}' of frames, channels, height, "
            "width)",
            _REMEDY,
        )
    if min(shape) < 1 or shape[1] != 4 or shape[0] > MOST_FRAMES or max(shape[2:]) > LARGEST_SIDE // 8:
        raise CheckpointError(f"{path} holds latents of shape {shape}, beyond what Stillmotion decodes.")

    def beside(key: str, size: tuple[int, ...]) -> Tensor | None:
        return file.read(key) if file.shapes.get(key) == size and file.dtypes[key] == torch.float32 else None

    pixels = (8 * shape[2], 8 * shape[3])
    picture, area = beside(PICTURE_KEY, (1, 3, *pixels)), beside(AREA_KEY, (1, 1, *pixels))
    paste = None if picture is None or area is None else Paste(picture, area)
    first, shares = beside(FIRST_KEY, (1, 3, *pixels)), beside(SHARES_KEY, (2, shape[0]))
    first = None if first is None or shares is None else FirstFrame(first, *shares)
    return SavedLatents(file.read(KEY), picture, file.json_metadata(METADATA_KEY), paste, first)
