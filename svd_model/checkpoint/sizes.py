"""Sizes of networks, read off the shapes of their tensors under the released names."""

import itertools
import math
from collections.abc import Mapping

from ..networks.unet import UNetParams
from ..networks.vae import VAEParams
from ..networks.vision import VisionParams

LARGEST_DIMENSION = 2**20

CAMERA_LAYER = ".time_stack.0.cc_projection."
"""Fragment of the keys of MotionCtrl's layers, each after a self-attention over time."""

CAMERA_DIM = 12
"""Numbers of MotionCtrl's camera at a frame: rotation and position, a matrix of 3 × 4."""

GROUPS = 32
"""Groups of channels that the UNet and the VAE normalise together."""

Shapes = Mapping[str, tuple[int, ...]]


def below(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    """Selects the keys with a prefix, and takes the prefix off."""
    return {key[len(prefix) :]: shape for key, shape in shapes.items() if key.startswith(prefix)}


def _dimension(shapes: Shapes, key: str, axis: int, default: int) -> int:
    """One number of a shape; the default where the key is missing, so that its part reports that key."""
    shape = shapes.get(key, ())
    size = shape[axis] if axis < len(shape) else 0
    return size if 0 < size <= LARGEST_DIMENSION else default


def _count(shapes: Shapes, prefix: str) -> int:
    """Counts prefix + "0.", prefix + "1.", … among the keys, up to the first gap."""
    numbers = {key[len(prefix) :].partition(".")[0] for key in shapes if key.startswith(prefix)}
    return next(number for number in itertools.count() if str(number) not in numbers)


def why_impossible(params) -> str | None:
    """Words for sizes that no UNet or VAE can have: widths that their groups or heads don't divide."""
    if not isinstance(params, UNetParams | VAEParams):
        return None
    channels = params.model_channels if isinstance(params, UNetParams) else params.channels
    widths = sorted({mult * channels for mult in (1, *params.channel_mult)})
    odd = next((width for width in widths if width % GROUPS), None)
    if odd is not None:
        return f"is {odd} channels wide; whole multiples of {GROUPS} are expected"
    if isinstance(params, UNetParams):
        attending = {*range(params.attention_levels), len(params.channel_mult) - 1}
        for width in sorted(map(params.width, attending)):
            if width % params.head_channels:
                return (
                    f"is {width} channels wide, which heads of {params.head_channels} don't divide "
                    "(head_channels in its metadata says how wide they are)"
                )
    return None


def unet_params(shapes: Shapes, head_channels: int | None = None) -> UNetParams:
    """Reads the sizes of a UNet off its keys (without prefix); heads are 64 wide, or half the channels."""
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
        camera_dim=_camera_dim(shapes),
        frame_positions=_dimension(shapes, "middle_block.1.positional_embedding.embeddings", 0, 0),
    )


def _camera_dim(shapes: Shapes) -> int:
    """Numbers of a camera that layers take beside their channels; 0 for a UNet without such layers."""
    layers = {key: shape for key, shape in shapes.items() if CAMERA_LAYER in key}
    if not layers:
        return 0
    matrices = [shape for key, shape in layers.items() if key.endswith(".weight") and len(shape) == 2]
    return max(matrices[0][1] - matrices[0][0], 1) if matrices else CAMERA_DIM


def encoder_params(shapes: Shapes) -> VAEParams:
    """Reads the sizes of an encoder off its keys (without prefix)."""
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
    """Reads the sizes of a decoder, temporal or not, off its keys (without prefix)."""
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
    """Reads the sizes of a CLIP tower off its keys (without prefix); heads are 80 wide, or width / 4."""
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
