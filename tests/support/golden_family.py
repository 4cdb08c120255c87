"""The reference's numbers of other networks around the SVD UNet, and their common inputs.

GOLDEN_FAMILY names another file of the same kind, GOLDEN_PREFIX the prefix its tensors were named with. Two
videos of three frames; video 0 stands for the unconditional one. All numbers are of float32: the GroupNorm of
some blocks has another epsilon in diffusers than in sgm, which moves no entry by more than 3.2e-5 of its
largest number.
"""

import functools
import json
import math
import os
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from stillmotion.svd_model.networks.embedding import sinusoidal_embedding
from stillmotion.svd_model.networks.unet import VideoUNet

from . import tiny
from .named_tensors import NamedTensors

FOLDER = Path(__file__).parent.parent / "golden"
FILE = Path(os.environ.get("GOLDEN_FAMILY") or FOLDER / "golden_family.safetensors")
NAMED = NamedTensors(os.environ.get("GOLDEN_PREFIX", ""))
BOUND = 1e-4
"""Largest difference, relative to an entry's largest number."""

VIDEOS, FRAMES = 2, 3
NUMBERS = ((6, 127, 0.02), (11, 40, 0.1))
C_NOISE = 0.25 * math.log(3.7)

with safe_open(FILE, "pt") as golden:
    GOLDEN = {name: golden.get_tensor(name) for name in golden.keys()}  # noqa: SIM118 (not a dict)


def keys(name: str) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a file, by the name of its list: keys_NAME.json."""
    content = json.loads((FOLDER / "family" / f"keys_{name}.json").read_text())
    return {key: tuple(shape) for key, shape in content.items()}


def weights(name: str, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a list of keys, drawn by their names behind a prefix."""
    return {key: NAMED.weight(prefix + key, shape) for key, shape in keys(name).items()}


@functools.cache
def unet() -> VideoUNet:
    """The plain tiny UNet."""
    return NAMED.fill(VideoUNet(tiny.UNET, device="meta"))


def vector(*numbers: float) -> Tensor:
    """The vector of numbers as they are, (1, 768)."""
    return sinusoidal_embedding(torch.tensor(numbers), 256).flatten()[None]


def inputs() -> dict[str, Tensor]:
    """Inputs of the UNet, frames as rows: x (6, 8, 8, 16), timesteps, context and y."""
    rows = VIDEOS * FRAMES
    return {
        "x": NAMED.input("family.x", (VIDEOS, FRAMES, 8, 8, 16)).flatten(0, 1),
        "timesteps": torch.full((rows,), C_NOISE),
        "context": NAMED.input("family.context", (VIDEOS, 1, 64)).repeat_interleave(FRAMES, 0),
        "y": torch.cat([vector(*numbers) for numbers in NUMBERS]).repeat_interleave(FRAMES, 0),
    }


def control() -> Tensor:
    """The control pictures, (2, 3, 3, 64, 128) in [−1, 1]."""
    return NAMED.input("family.control", (VIDEOS, FRAMES, 3, 64, 128)).clamp(-1, 1)


def check(name: str, value: Tensor) -> None:
    """Asserts that a value, in any shape with as many numbers, is an entry's within the bound."""
    expected = GOLDEN[name]
    error = (value.reshape(expected.shape) - expected).abs().max() / expected.abs().max()
    assert error <= BOUND, f"{name}: {error:.1e}"
