"""Networks under the released names, but apart from a whole checkpoint: bare, or behind other prefixes."""

import re

from ..sources import TensorFile
from .origins import moved, prefix_of
from .released import CONDITION_VAES, FIRST_STAGE, UNET, VISION

_UNET = re.compile(r"^(.*?)(?:input_blocks|output_blocks)\.\d{1,3}\..*time_stack\.")
_UNET_PARTS = ("input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.")
_VAE = re.compile(r"^(.*?)(?:decoder\.(?:mid|up)|encoder\.(?:mid|down))\.(?:block_)?\d\.")
_VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_TOWER = re.compile(r"^(.*?)visual\.(?:transformer\.resblocks\.\d|class_embedding)")


def recognise_unet(file: TensorFile) -> bool:
    """Tells whether a video UNet lies elsewhere than in a whole checkpoint."""
    return _strays(file, _UNET, UNET)


def unet_to_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file with its UNet where a whole checkpoint has it."""
    return moved(file, prefix_of(file.shapes, _UNET), UNET, _UNET_PARTS)


def recognise_vae(file: TensorFile) -> bool:
    """Tells whether a VAE lies elsewhere than in a whole checkpoint."""
    return _strays(file, _VAE, FIRST_STAGE, *CONDITION_VAES)


def vae_to_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file with its VAE where a whole checkpoint has the first stage."""
    return moved(file, prefix_of(file.shapes, _VAE), FIRST_STAGE, _VAE_PARTS)


def recognise_tower(file: TensorFile) -> bool:
    """Tells whether an image tower lies elsewhere than in a whole checkpoint."""
    return _strays(file, _TOWER, VISION)


def tower_to_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file with its image tower where a whole checkpoint has it."""
    return moved(file, prefix_of(file.shapes, _TOWER) + "visual.", VISION, ("",))


def _strays(file: TensorFile, pattern: re.Pattern, *homes: str) -> bool:
    """Whether a network is in the file, and nothing where it would be in a whole checkpoint."""
    at_home = any(key.startswith(homes) for key in file.shapes)
    return not at_home and prefix_of(file.shapes, pattern) is not None
