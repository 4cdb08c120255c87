"""Networks under the released names, but apart from a whole checkpoint: bare, or behind other prefixes."""

import re

from ..sources import TensorFile
from .origins import Origin, prefix_of, renamed
from .released import CONDITION_VAES, FIRST_STAGE, UNET, VAE_PARTS, VISION

_UNET = re.compile(r"(?:input_blocks|output_blocks)\.\d{1,3}\..*time_stack\.")
_UNET_PARTS = ("input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.")
_VAE = re.compile(r"(?:decoder\.(?:mid|up)|encoder\.(?:mid|down))\.(?:block_)?\d\.")
_TOWER = re.compile(r"(?<=visual\.)(?:transformer\.resblocks\.\d|class_embedding)")


def unet_to_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file with its UNet where a whole checkpoint has it."""
    return _brought_home(file, _UNET, _UNET_PARTS, UNET)


def vae_to_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file with its VAE where a whole checkpoint has the first stage."""
    return _brought_home(file, _VAE, VAE_PARTS, FIRST_STAGE, *CONDITION_VAES)


def tower_to_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file with its image tower where a whole checkpoint has it."""
    return _brought_home(file, _TOWER, ("",), VISION)


def _brought_home(
    file: TensorFile, pattern: re.Pattern, parts: tuple[str, ...], home: str, *others: str
) -> TensorFile:
    """A view with a network's modules behind `home`; the file itself where that or another place has some."""
    if any(key.startswith((home, *others)) for key in file.shapes):
        return file
    prefix = prefix_of(file.shapes, pattern)
    if prefix is None:
        return file
    inside = tuple(prefix + part for part in parts)
    keys = (key for key in file.shapes if key.startswith(inside))
    return renamed(file, {home + key[len(prefix) :]: Origin((key,)) for key in keys})
