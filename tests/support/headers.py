"""Checkpoints of which only the header is there: keys and shapes, without a tensor to read."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import torch

from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.notes import METADATA_KEY
from stillmotion.svd_model.checkpoint.sources import TensorFile
from support import checkpoints
from support.tiny import GOLDEN as GOLDEN_SIZES
from support.tiny import Sizes

Shapes = Mapping[str, tuple[int, ...]]

GOLDEN = Path(__file__).parents[1] / "golden"
RELEASED = ("svd_xt", "svd_xt_image_decoder", "sv3d_u", "sv3d_p")

UNET = "model.diffusion_model."
CLIP = "conditioner.embedders.0.open_clip.model."
VISION = CLIP + "visual."
SVD_VAE, SV3D_VAE = "conditioner.embedders.3.encoder.", "conditioner.embedders.1.encoder."
DECODER = "first_stage_model.decoder."
"""Prefixes of the released files, written out here on purpose."""


def refuse(key: str):
    """Fails the test that reads a tensor."""
    pytest.fail(f"the tensor {key} was read")


def file(shapes: Shapes, dtypes=None, metadata=None, path="model.safetensors", size: int = 1) -> TensorFile:
    """A file of float16 tensors (others by `dtypes`), with notes in its metadata."""
    dtypes = dict.fromkeys(shapes, torch.float16) | (dtypes or {})
    notes = {} if metadata is None else {METADATA_KEY: json.dumps(metadata)}
    return TensorFile(Path(path), size, dict(shapes), dtypes, notes, refuse)


def checkpoint(shapes: Shapes, dtypes=None, metadata=None, **options) -> Checkpoint:
    """A checkpoint in such a file."""
    return Checkpoint(file(shapes, dtypes, metadata, **options))


def released(name: str) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of a released file, for the caller to change."""
    keys = json.loads((GOLDEN / f"keys_{name}.json").read_text())
    return {key: tuple(shape) for key, shape in keys.items()}


@cache
def tiny(kind: str = "svd", sizes: Sizes = GOLDEN_SIZES) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of a tiny checkpoint, without drawing its values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints.NamedTensors, "weight", lambda self, key, shape: torch.empty(shape))
        return {key: tuple(tensor.shape) for key, tensor in checkpoints.tensors(kind, sizes=sizes).items()}


def without(shapes: Shapes, *prefixes: str) -> dict[str, tuple[int, ...]]:
    """The shapes whose keys begin with no prefix."""
    return {key: shape for key, shape in shapes.items() if not key.startswith(prefixes)}


def only(shapes: Shapes, *prefixes: str) -> dict[str, tuple[int, ...]]:
    """The shapes whose keys begin with a prefix."""
    return {key: shape for key, shape in shapes.items() if key.startswith(prefixes)}
