"""Latents of a clip in a file, so that sampling and decoding can be done apart."""

import contextlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..svd_model.tensor_file import CheckpointError, TensorFile
from .settings import LARGEST_SIDE, MOST_FRAMES
from .video_files import OutputError

KEY = "latents"
METADATA_KEY = "stillmotion"


def check_destination(path: Path) -> None:
    """Refuses, before any work, where `save` would fail."""
    if path.suffix.lower() != ".safetensors":
        raise OutputError(f"{path}: latents are saved as .safetensors; give the name that ending.")
    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(f"{path} can't be written: it is a folder, or {path.parent} is none.")


def save(path: Path, latents: Tensor, metadata: dict | None) -> None:
    """Writes (T, 4, h, w) latents in the diffusion model's scale; an unfinished file is never left."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        notes = None if metadata is None else {METADATA_KEY: json.dumps(metadata, sort_keys=True)}
        save_file({KEY: latents.contiguous()}, partial, metadata=notes)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path} can't be written: {reason}.") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def read(path: Path) -> tuple[Tensor, dict]:
    """The latents that `save` wrote, (T, 4, h, w) float32, and its metadata."""
    file = TensorFile.open(path)
    shape = file.shapes.get(KEY)
    if shape is None or len(shape) != 4 or file.dtypes[KEY] != torch.float32:
        raise CheckpointError(
            f"{path} holds no latents of Stillmotion (a float32 tensor '{KEY}' of frames, channels, height, "
            "width); make such a file with --save-latents."
        )
    if min(shape) < 1 or shape[1] != 4 or shape[0] > MOST_FRAMES or max(shape[2:]) > LARGEST_SIDE // 8:
        raise CheckpointError(f"{path} holds latents of shape {shape}, beyond what Stillmotion decodes.")
    return file.read(KEY), file.json_metadata(METADATA_KEY)
