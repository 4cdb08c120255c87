"""Kinds of files, by the names, shapes and number formats of its tensors; nothing is read for it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .layouts.released import UNET, is_weight
from .sizes import Shapes
from .sources import CheckpointError, TensorFile

SVD_CHECKPOINT = "SVD checkpoint"


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name in words, a test of its shapes, and its role, None where it is refused."""

    words: str
    test: Callable[[Shapes], bool]
    role: str | None = None


def having(*fragments: str) -> Callable[[Shapes], bool]:
    """A test for keys: each fragment occurs in one of them."""
    return lambda shapes: all(any(fragment in key for key in shapes) for fragment in fragments)


def having_below(prefix: str, fragment: str) -> Callable[[Shapes], bool]:
    """A test for one key that begins with the prefix and has the fragment."""
    return lambda shapes: any(key.startswith(prefix) and fragment in key for key in shapes)


KINDS = (
    Kind("an SVD checkpoint", having_below(UNET, ".time_stack."), SVD_CHECKPOINT),
    Kind("SV4D, which takes several views (not supported)", having(UNET, "time_mix_blocks")),
    Kind("a ControlNet", having("control_model.")),
    Kind("a ControlNet in diffusers' layout", having("controlnet_cond_embedding.")),
    Kind("a LyCORIS (LoHa or LoKr)", having("hada_w1")),
    Kind("a LyCORIS (LoHa or LoKr)", having("lokr_w")),
    Kind("a LoRA", having("lora_")),
    Kind("a LoRA", having("_lora.")),
    Kind("an SVD decoder in diffusers' layout (use the single file)", having("decoder.time_conv_out.")),
    Kind(
        "an SVD UNet in diffusers' layout (use the single file, svd_xt.safetensors)",
        having("temporal_res_block."),
    ),
    Kind(
        "an SVD UNet without the other networks (use the single file)",
        having("input_blocks.", ".time_stack."),
    ),
    Kind("a video model on the layout of Stable Diffusion (not supported)", having("temopral_conv.")),
    Kind("an AnimateDiff motion module", having("motion_modules.")),
    Kind("Flux", having("double_blocks.0.img_attn.qkv.", "single_blocks.")),
    Kind("Stable Diffusion 3", having("joint_blocks.")),
    Kind("SDXL", having(UNET, "conditioner.embedders.1.model.")),
    Kind("an SDXL refiner", having(UNET, "conditioner.embedders.0.model.")),
    Kind("Stable Diffusion 2", having(UNET, "cond_stage_model.model.")),
    Kind("Stable Diffusion 1.5 (or 1.x)", having(UNET, "cond_stage_model.transformer.")),
    Kind("a UNet for single images, without temporal layers", having(UNET + "input_blocks.")),
    Kind("a UNet for single images in diffusers' layout", having("down_blocks.0.resnets.")),
    Kind("a VAE only", having("encoder.conv_in.", "decoder.conv_in.")),
    Kind("a VAE decoder only", having("decoder.conv_in.")),
    Kind("a CLIP image tower only", having("visual.", "resblocks.")),
    Kind("a CLIP vision model only", having("vision_model.encoder.")),
    Kind("a CLIP text encoder", having("text_model.encoder.")),
    Kind("a model unknown to Stillmotion", having()),
)
"""All kinds, the first that passes its test counts; the last one passes for any file."""


def find_kind(shapes: Shapes) -> Kind:
    """The first kind whose test the shapes pass."""
    return next(kind for kind in KINDS if kind.test(shapes))


def _scaled(key: str, dtype: torch.dtype | str) -> str | None:
    scale = key.endswith((".scale_weight", ".weight_scale", ".comfy_quant")) or key == "scaled_fp8"
    return "scaled weights" if scale else None


def _other_than_floats(key: str, dtype: torch.dtype | str) -> str | None:
    if not is_weight(key) or (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        return None
    return f"{str(dtype).removeprefix('torch.')} numbers"


REFUSED_NUMBERS = (_scaled, _other_than_floats)
"""Functions of a key and its dtype: words for numbers that would give a wrong picture, or None."""


def check_numbers(file: TensorFile) -> None:
    """Raises CheckpointError for a file with tensors of a number format that can't be used."""
    for test in REFUSED_NUMBERS:
        for key, dtype in file.dtypes.items():
            words = test(key, dtype)
            if words:
                raise CheckpointError(
                    f"{file.path} holds {words} (its key {key}); Stillmotion reads plain float32, float16, "
                    "bfloat16 and float8 files."
                )
