"""Kinds of files, by the names, shapes and number formats of its tensors; nothing is read for it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from .layouts.released import UNET, is_weight
from .sizes import CAMERA_LAYER, Shapes
from .small_decoders import is_small_decoder
from .sources import CheckpointError, TensorFile, other_than_floats


class Role(Enum):
    """What a file of networks is for."""

    CHECKPOINT = "a UNet, and other networks or none"
    PART = "a VAE or an image tower"
    CONTROLNET = "a temporal ControlNet"


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name in words, a test of its shapes, and its role, None where it is refused.

    advice: what to do with such a file, or with which file to replace it; a clause.
    """

    words: str
    test: Callable[[Shapes], bool]
    role: Role | None = None
    advice: str = ""


def having(*fragments: str) -> Callable[[Shapes], bool]:
    """A test for keys: each fragment occurs in one of them."""
    return lambda shapes: all(any(fragment in key for key in shapes) for fragment in fragments)


def having_any(*fragments: str) -> Callable[[Shapes], bool]:
    """A test for keys: one of the fragments occurs in one of them."""
    return lambda shapes: any(fragment in key for key in shapes for fragment in fragments)


def having_below(prefix: str, fragment: str) -> Callable[[Shapes], bool]:
    """A test for one key that begins with the prefix and has the fragment."""
    return lambda shapes: any(key.startswith(prefix) and fragment in key for key in shapes)


def matching(pattern: str) -> Callable[[Shapes], bool]:
    """A test for one key that a regular expression describes from its beginning."""
    compiled = re.compile(pattern)
    return lambda shapes: any(compiled.match(key) for key in shapes)


def mostly_ending(*ends: str) -> Callable[[Shapes], bool]:
    """A test for nine tenths of the keys: they have one of the ends."""
    return lambda shapes: sum(key.endswith(ends) for key in shapes) > 0.9 * len(shapes)


_LORA = (
    ".lora_A.",
    ".lora_B.",
    ".lora.down.",
    ".lora.up.",
    "_lora.down.",
    "_lora.up.",
    ".lora_down.",
    ".lora_up.",
)
_AS_LORA = "give it beside a checkpoint, as a LoRA"
_AS_PART = "give it beside a file with a UNet"
_FOR_PREVIEWS = "put it in ComfyUI's models/vae_approx, where SVD KSampler looks for it"

OTHER_ADAPTERS = (
    Kind("a LoHa", having_any("hada_w")),
    Kind("a LoKr", having_any("lokr_w")),
    Kind("a DoRA", having_any(".dora_scale", ".lora_magnitude_vector")),
    Kind("a LoCon of three factors", having_any(".lora_mid.")),
    Kind("an OFT", having_any(".oft_")),
)
"""Kinds of files that change weights in other ways than a LoRA."""

KINDS = (
    *OTHER_ADAPTERS,
    Kind(
        "the state of a training, a UNet with a LoRA in it",
        lambda shapes: having(".base_layer.")(shapes) and having_any(*_LORA)(shapes),
        advice=_AS_LORA,
    ),
    Kind("a LoRA", having_any(*_LORA, "lora_unet_"), advice=_AS_LORA),
    Kind("a LoRA of whole differences", mostly_ending(".diff", ".diff_b"), advice=_AS_LORA),
    Kind(
        "a temporal ControlNet for SVD",
        having("controlnet_cond_embedding.", ".temporal_res_block."),
        Role.CONTROLNET,
        "give it beside a checkpoint, to --control or SVD Load ControlNet",
    ),
    Kind("a ControlNet", having("control_model.")),
    Kind("a ControlNet in diffusers' layout", having("controlnet_cond_embedding.")),
    Kind("a ControlNeXt for SVD", having("mid_convs.1.weight", "embedding.0.weight")),
    Kind("a CameraCtrl for SVD", having("pose_encoder_state_dict.")),
    Kind(
        "an ExVideo, the temporal blocks of an SVD",
        matching(r"blocks\.\d+\.positional_embedding\.embeddings"),
        advice="give it beside svd_xt, as ExVideo",
    ),
    Kind("MimicMotion", having("pose_net.", "unet.")),
    Kind("Sonic, a talking head on SVD", having(".processor.to_k_ip.")),
    Kind(
        "the camera's layers of MotionCtrl-SVD without the other ones of its UNet",
        lambda shapes: having(CAMERA_LAYER)(shapes) and not having("input_blocks.0.0.")(shapes),
        advice="give the whole motionctrl_svd",
    ),
    Kind("SV4D, which takes several views (not supported)", having(UNET, "time_mix_blocks")),
    Kind("an SVD checkpoint", having_below(UNET, ".time_stack."), Role.CHECKPOINT),
    Kind(
        "an SVD UNet",
        matching(r".*(?:input|output)_blocks\.\d+\..*time_stack\."),
        Role.CHECKPOINT,
    ),
    Kind(
        "an SVD UNet in diffusers' layout",
        matching(r".*(?<!coder\.)(?:down|up)_blocks\.\d+\.resnets\.\d+\.(?:spatial|temporal)_res_block\."),
        Role.CHECKPOINT,
    ),
    Kind(
        "a temporal VAE",
        having_any(
            "decoder.conv_out.time_mix_conv.", "decoder.time_conv_out.", "decoder.mid.block_1.mix_factor"
        ),
        Role.PART,
        _AS_PART,
    ),
    Kind(
        "an SVD checkpoint with averaged weights alone",
        having_below("model_ema.diffusion_model", "time_stack"),
        Role.CHECKPOINT,
    ),
    Kind("a decoder of previews (TAESD or TAESDV)", is_small_decoder, advice=_FOR_PREVIEWS),
    Kind("a video model on the layout of Stable Diffusion (not supported)", having("temopral_conv.")),
    Kind("an AnimateDiff motion module", having("motion_modules.")),
    Kind("Flux", having("double_blocks.0.img_attn.qkv.", "single_blocks.")),
    Kind("Stable Diffusion 3", having("joint_blocks.")),
    Kind("SDXL", having(UNET, "conditioner.embedders.1.model.")),
    Kind("an SDXL refiner", having(UNET, "conditioner.embedders.0.model.")),
    Kind("Stable Diffusion 2", having(UNET, "cond_stage_model.model.")),
    Kind("Stable Diffusion 1.5 (or 1.x)", having(UNET, "cond_stage_model.transformer.")),
    Kind("a UNet for single images, without temporal layers", having(UNET + "input_blocks.")),
    Kind(
        "a UNet for single images in diffusers' layout",
        matching(r"(?:unet\.)?(?:down|up)_blocks\.0\.resnets\."),
    ),
    Kind("a VAE of single images", having_any("decoder.conv_in.", "decoder.mid"), Role.PART, _AS_PART),
    Kind("an encoder of a VAE", having_any("encoder.conv_in.", "encoder.mid"), Role.PART, _AS_PART),
    Kind("a CLIP image tower", having("visual.", "resblocks."), Role.PART, _AS_PART),
    Kind("a CLIP image tower in transformers' layout", having("vision_model.encoder."), Role.PART, _AS_PART),
    Kind("a CLIP text encoder", having("text_model.encoder.")),
    Kind("a model unknown to Stillmotion", having()),
)
"""All kinds, the first that passes its test counts; the last one passes for any file."""


def find_kind(shapes: Shapes) -> Kind:
    """The first kind whose test the shapes pass."""
    return next(kind for kind in KINDS if kind.test(shapes))


def check_numbers(file: TensorFile) -> None:
    """Raises CheckpointError for a file with weights of a number format that can't be used."""
    for key, dtype in file.dtypes.items():
        words = other_than_floats(dtype) if is_weight(key) else None
        if words:
            raise CheckpointError(
                f"{file.path} holds {words} (its key {key}); Stillmotion reads plain float32, float16, "
                "bfloat16 and float8 files."
            )
