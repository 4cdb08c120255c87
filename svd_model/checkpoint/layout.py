"""The key layout of the released single files: where each network is, and its sizes by its shapes."""

import itertools
import math
from collections.abc import Mapping

from ..networks.unet import UNetParams
from ..networks.vae import VAEParams
from ..networks.vision import VisionParams

LARGEST_DIMENSION = 2**20
Shapes = Mapping[str, tuple[int, ...]]

UNET = "model.diffusion_model."
VISION = "conditioner.embedders.0.open_clip.model.visual."
FIRST_STAGE = "first_stage_model."
CONDITION_VAES = ("conditioner.embedders.3.encoder.", "conditioner.embedders.1.encoder.")
"""Where the VAE of the conditioning latent is: in SVD, and in SV3D."""

NOTES = "stillmotion."
"""Where a saved copy of a small checkpoint has its notes, at the top level and in the image tower."""

NOT_NEEDED = (
    # Found in released files and their descendants; inference does without.
    "conditioner.embedders.0.open_clip.",  # the text side
    *CONDITION_VAES,  # the decoder
    FIRST_STAGE,  # the encoder
    "model_ema.",
    "denoiser.",
    "edm_vpred.",  # the range of noise levels, as ComfyUI saves it
    NOTES,
)


def is_known(key: str) -> bool:
    """Whether a key that no network needs is one that released files are known to have."""
    needed = key.startswith((UNET, VISION)) and not key.startswith(VISION + NOTES)
    return key.startswith(NOT_NEEDED) and not needed


def below(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    """The keys with that prefix, without it."""
    return {key[len(prefix) :]: shape for key, shape in shapes.items() if key.startswith(prefix)}


def _dimension(shapes: Shapes, key: str, axis: int, default: int) -> int:
    """One number of one shape; the default where the key is missing, so that the report is about that key."""
    shape = shapes.get(key, ())
    size = shape[axis] if axis < len(shape) else 0
    return size if 0 < size <= LARGEST_DIMENSION else default


def _count(shapes: Shapes, prefix: str) -> int:
    """How many of prefix + "0.", prefix + "1.", … begin a key, up to the first that does not."""
    numbers = {key[len(prefix) :].partition(".")[0] for key in shapes if key.startswith(prefix)}
    return next(number for number in itertools.count() if str(number) not in numbers)


def unet_params(shapes: Shapes, head_channels: int | None = None) -> UNetParams:
    """The sizes of the UNet with these keys (without prefix); heads are 64 wide, or half the channels."""
    default = UNetParams()
    channels = _dimension(shapes, "input_blocks.0.0.weight", 0, default.model_channels)
    levels: list[list[int]] = [[]]  # the blocks' widths, level by level
    attention_levels = 0
    for index in range(1, _count(shapes, "input_blocks.")):
        if f"input_blocks.{index}.0.op.weight" in shapes:
            levels.append([])
        else:
            levels[-1].append(_dimension(shapes, f"input_blocks.{index}.0.in_layers.2.weight", 0, 0))
            if f"input_blocks.{index}.1.norm.weight" in shapes:
                attention_levels = len(levels)
    regular = all(level and set(level) == {level[0]} and level[0] % channels == 0 for level in levels)
    return UNetParams(
        in_channels=_dimension(shapes, "input_blocks.0.0.weight", 1, default.in_channels),
        out_channels=_dimension(shapes, "out.2.weight", 0, default.out_channels),
        model_channels=channels,
        channel_mult=tuple(level[0] // channels for level in levels) if regular else default.channel_mult,
        num_res_blocks=len(levels[0]) if regular else default.num_res_blocks,
        attention_levels=attention_levels if regular else default.attention_levels,
        head_channels=head_channels or min(default.head_channels, channels // 2),
        context_dim=_dimension(
            shapes, "middle_block.1.transformer_blocks.0.attn2.to_k.weight", 1, default.context_dim
        ),
        vector_dim=_dimension(shapes, "label_emb.0.0.weight", 1, default.vector_dim),
    )


def encoder_params(shapes: Shapes) -> VAEParams:
    """The sizes of an encoder with these keys (without prefix)."""
    default = VAEParams()
    channels = _dimension(shapes, "encoder.conv_in.weight", 0, default.channels)
    mult = _channel_mult(shapes, "encoder.down", channels, default)
    return VAEParams(
        channels=channels,
        channel_mult=mult,
        num_res_blocks=_count(shapes, "encoder.down.0.block.") or default.num_res_blocks,
        z_channels=_dimension(shapes, "encoder.conv_out.weight", 0, 2 * default.z_channels) // 2,
        image_channels=_dimension(shapes, "encoder.conv_in.weight", 1, default.image_channels),
    )


def decoder_params(shapes: Shapes) -> VAEParams:
    """The sizes of a decoder, temporal or not, with these keys (without prefix)."""
    default = VAEParams()
    channels = _dimension(shapes, "decoder.norm_out.weight", 0, default.channels)
    mult = _channel_mult(shapes, "decoder.up", channels, default)
    return VAEParams(
        channels=channels,
        channel_mult=mult,
        num_res_blocks=(_count(shapes, "decoder.up.0.block.") or default.num_res_blocks + 1) - 1,
        z_channels=_dimension(shapes, "decoder.conv_in.weight", 1, default.z_channels),
        image_channels=_dimension(shapes, "decoder.conv_out.weight", 0, default.image_channels),
    )


def _channel_mult(shapes: Shapes, levels: str, channels: int, default: VAEParams) -> tuple[int, ...]:
    numbers = range(_count(shapes, levels + "."))
    widths = [_dimension(shapes, f"{levels}.{number}.block.0.conv1.weight", 0, 0) for number in numbers]
    regular = widths and all(width and width % channels == 0 for width in widths)
    return tuple(width // channels for width in widths) if regular else default.channel_mult


def vision_params(shapes: Shapes, head_width: int | None = None) -> VisionParams:
    """The sizes of a CLIP tower with these keys (without prefix); heads are 80 wide, or width / 4."""
    default = VisionParams()
    width = _dimension(shapes, "class_embedding", 0, default.width)
    patch = _dimension(shapes, "conv1.weight", 3, default.patch_size)
    tokens = _dimension(
        shapes, "positional_embedding", 0, (default.image_size // default.patch_size) ** 2 + 1
    )
    return VisionParams(
        width=width,
        layers=_count(shapes, "transformer.resblocks.") or default.layers,
        head_width=head_width or (min(default.head_width, width // 4) or 1),
        mlp_width=_dimension(shapes, "transformer.resblocks.0.mlp.c_fc.weight", 0, default.mlp_width),
        patch_size=patch,
        image_size=math.isqrt(tokens - 1) * patch,
        output_dim=_dimension(shapes, "proj", 1, default.output_dim),
    )


def is_video_unet(shapes: Shapes) -> bool:
    """Whether the UNet of a file has SVD's temporal blocks."""
    return any(key.startswith(UNET) and ".time_stack." in key for key in shapes)


def looks_like(shapes: Shapes) -> str:
    """What a file that is no SVD checkpoint seems to be, in words."""
    for what, fragments in _OTHERS:
        if all(any(fragment in key for key in shapes) for fragment in fragments):
            return what
    return "a model unknown to Stillmotion"


_OTHERS = (
    # The first whose fragments all occur in some key.
    ("SV4D, which takes several views (not supported)", (UNET, "time_mix_blocks")),
    ("a ControlNet", ("control_model.",)),
    ("a ControlNet in diffusers' layout", ("controlnet_cond_embedding.",)),
    ("a LyCORIS (LoHa or LoKr)", ("hada_w1",)),
    ("a LyCORIS (LoHa or LoKr)", ("lokr_w",)),
    ("a LoRA", ("lora_",)),
    ("a LoRA", ("_lora.",)),
    ("an SVD decoder in diffusers' layout (use the single file)", ("decoder.time_conv_out.",)),
    ("an SVD UNet in diffusers' layout (use the single file, svd_xt.safetensors)", ("temporal_res_block.",)),
    ("an SVD UNet without the other networks (use the single file)", ("input_blocks.", ".time_stack.")),
    ("a video model on the layout of Stable Diffusion (not supported)", ("temopral_conv.",)),
    ("an AnimateDiff motion module", ("motion_modules.",)),
    ("Flux", ("double_blocks.0.img_attn.qkv.", "single_blocks.")),
    ("Stable Diffusion 3", ("joint_blocks.",)),
    ("SDXL", (UNET, "conditioner.embedders.1.model.")),
    ("an SDXL refiner", (UNET, "conditioner.embedders.0.model.")),
    ("Stable Diffusion 2", (UNET, "cond_stage_model.model.")),
    ("Stable Diffusion 1.5 (or 1.x)", (UNET, "cond_stage_model.transformer.")),
    ("a UNet for single images, without temporal layers", (UNET + "input_blocks.",)),
    ("a UNet for single images in diffusers' layout", ("down_blocks.0.resnets.",)),
    ("a VAE only", ("encoder.conv_in.", "decoder.conv_in.")),
    ("a VAE decoder only", ("decoder.conv_in.",)),
    ("a CLIP image tower only", ("visual.", "resblocks.")),
    ("a CLIP vision model only", ("vision_model.encoder.",)),
    ("a CLIP text encoder", ("text_model.encoder.",)),
)
