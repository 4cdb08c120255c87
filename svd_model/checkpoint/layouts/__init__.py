"""Layouts of checkpoint files, and views of them under the released names."""

from ..sources import TensorFile
from . import bare, diffusers, ema, scaled, transformers
from .wrappers import with_plain_names

__all__ = ["LAYOUTS", "with_plain_names", "with_released_names"]

LAYOUTS = (
    # Each layout sees the view of the one before.
    ema.to_released_names,
    scaled.to_plain_weights,
    bare.unet_to_released_names,
    bare.vae_to_released_names,
    bare.tower_to_released_names,
    diffusers.unet_to_released_names,
    diffusers.vae_to_released_names,
    transformers.to_released_names,
)
"""All layouts but the released one: functions of a file, which give it back where it has another layout."""


def with_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file under the released names, or the file itself where it has them."""
    file = with_plain_names(file)
    for to_released_names in LAYOUTS:
        file = to_released_names(file)
    return file
