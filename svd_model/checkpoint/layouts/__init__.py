"""Layouts of checkpoint files, and views of them under the released names."""

from collections.abc import Callable
from dataclasses import dataclass

from ..sources import TensorFile
from . import bare, diffusers, ema, scaled, transformers, wrappers


@dataclass(frozen=True)
class Layout:
    """A way to name tensors: how it is recognised, and how its tensors get the released names."""

    recognise: Callable[[TensorFile], bool]
    to_released_names: Callable[[TensorFile], TensorFile]


LAYOUTS = (
    # Each layout sees the view of the one before.
    Layout(ema.recognise, ema.to_released_names),
    Layout(scaled.recognise, scaled.to_plain_weights),
    Layout(bare.recognise_unet, bare.unet_to_released_names),
    Layout(bare.recognise_vae, bare.vae_to_released_names),
    Layout(bare.recognise_tower, bare.tower_to_released_names),
    Layout(diffusers.recognise_unet, diffusers.unet_to_released_names),
    Layout(diffusers.recognise_vae, diffusers.vae_to_released_names),
    Layout(transformers.recognise, transformers.to_released_names),
)
"""All layouts but the released one."""


def with_plain_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file without what trainers and compilers put around names."""
    return wrappers.to_plain_names(file) if wrappers.recognise(file) else file


def with_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file under the released names, or the file itself where it has them."""
    file = with_plain_names(file)
    for layout in LAYOUTS:
        if layout.recognise(file):
            file = layout.to_released_names(file)
    return file
