"""The networks under diffusers' names, as its folders and most trainers save them."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from ...networks.unet import UNetParams
from ..sources import TensorFile
from .origins import Origin, prefix_of, renamed, unchanged
from .released import FIRST_STAGE, UNET, VAE_PARTS

# Diffusers' name to the released one, of modules in a block or at the ends of a network.
_RES_BLOCK = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_TRANSFORMER = {
    "temporal_transformer_blocks": "time_stack",
    "time_pos_embed.linear_1": "time_pos_embed.0",
    "time_pos_embed.linear_2": "time_pos_embed.2",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_RES_BLOCK = {"conv_shortcut": "nin_shortcut"}
_VAE_ENDS = {"conv_norm_out": "norm_out", "time_conv_out": "conv_out.time_mix_conv"}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}

_UNET_BLOCK = re.compile(r"(down|up)_blocks\.(\d{1,3})\.(resnets|attentions)\.(\d{1,3})\.(.+)")
_SAMPLER = re.compile(r"(?:down_blocks\.(\d{1,3})\.down|up_blocks\.(\d{1,3})\.up)samplers\.0\.conv(.*)")
_VAE_BLOCK = re.compile(r"(down|up)_blocks\.(\d{1,3})\.(resnets|downsamplers|upsamplers)\.(\d{1,3})\.(.+)")
_UNET = re.compile(
    r"(?<!coder\.)(?:down|up)_blocks\.\d{1,3}\.resnets\.\d{1,3}\.(?:spatial|temporal)_res_block\."
)
_VAE = re.compile(r"(?:encoder\.down|decoder\.up)_blocks\.\d{1,3}\.resnets\.")
_VAE_LEVEL = re.compile(r"(?:encoder\.down|decoder\.up)_blocks\.(\d{1,3})\.")
_RELEASED_BLOCK = re.compile(r"(input|output)_blocks\.(\d{1,3})\.(\d)\.(.+)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d{1,3})\.(.+)")


class Blocks(NamedTuple):
    """Blocks of a UNet: residual ones on a level of the input side, and the output levels that attend."""

    per_level: int
    attending: frozenset[int]

    @classmethod
    def of_params(cls, params: UNetParams) -> "Blocks":
        """The blocks of a UNet of known sizes."""
        levels = len(params.channel_mult)
        return cls(params.num_res_blocks, frozenset(range(levels - params.attention_levels, levels)))

    @classmethod
    def of_keys(cls, keys: Iterable[str]) -> "Blocks":
        """The blocks that keys under diffusers' names show."""
        found = [match for key in keys if (match := _UNET_BLOCK.match(key))]
        numbers = [int(match[4]) for match in found if match[1] == "down" and match[3] == "resnets"]
        attending = {int(match[2]) for match in found if match[1] == "up" and match[3] == "attentions"}
        return cls(max(numbers, default=-1) + 1, frozenset(attending))


def unet_name(name: str, blocks: Blocks) -> str | None:
    """The released name of a UNet's tensor or module, from diffusers'; None for a name that it has not."""
    if match := _UNET_BLOCK.match(name):
        side, level, kind, index, rest = match.groups()
        number = int(level) * (blocks.per_level + 1) + int(index)
        place = f"input_blocks.{number + 1}" if side == "down" else f"output_blocks.{number}"
        return f"{place}.0.{_in_resnet(rest)}" if kind == "resnets" else f"{place}.1.{_in_attention(rest)}"
    if match := _SAMPLER.match(name):
        down, up, rest = match.groups()
        if down is not None:
            return f"input_blocks.{(int(down) + 1) * (blocks.per_level + 1)}.0.op{rest}"
        number = (int(up) + 1) * (blocks.per_level + 1) - 1
        return f"output_blocks.{number}.{2 if int(up) in blocks.attending else 1}.conv{rest}"
    if match := _MIDDLE.match(name):
        kind, index, rest = match.groups()
        inside = _in_resnet(rest) if kind == "resnets" else _in_attention(rest)
        return f"middle_block.{2 * int(index) if kind == 'resnets' else 1}.{inside}"
    found = _replaced(name, _UNET_ENDS)
    return None if found == name else found


def diffusers_unet_name(name: str, blocks: Blocks) -> str:
    """Diffusers' name of a UNet's tensor or module, from the released one: the inverse of `unet_name`."""
    if (end := _replaced(name, _inverse(_UNET_ENDS))) != name:
        return end
    if match := _RELEASED_BLOCK.match(name):
        side, number, layer, rest = match.groups()
        place, first = ("down_blocks", 1) if side == "input" else ("up_blocks", 0)
        level, index = divmod(int(number) - first, blocks.per_level + 1)
        if rest.partition(".")[0] in ("op", "conv"):
            sampler = "downsamplers" if side == "input" else "upsamplers"
            return f"{place}.{level}.{sampler}.0.conv{rest.removeprefix('op').removeprefix('conv')}"
        if layer == "0":
            return f"{place}.{level}.resnets.{index}.{_from_resnet(rest)}"
        return f"{place}.{level}.attentions.{index}.{_from_attention(rest)}"
    _, layer, rest = name.split(".", 2)  # of the middle block
    if layer == "1":
        return f"mid_block.attentions.0.{_from_attention(rest)}"
    return f"mid_block.resnets.{int(layer) // 2}.{_from_resnet(rest)}"


def vae_name(name: str, levels: int) -> str:
    """The released name of a VAE's tensor, from diffusers'; `levels`: resolutions of the VAE."""
    part, _, rest = name.partition(".")
    if part not in ("encoder", "decoder"):
        return name
    if match := _VAE_BLOCK.match(rest):
        side, number, kind, index, inside = match.groups()
        level = levels - 1 - int(number) if side == "up" else int(number)
        if kind == "resnets":
            return f"{part}.{side}.{level}.block.{index}.{_in_vae_resnet(inside)}"
        return f"{part}.{side}.{level}.{side}sample.{inside}"
    if match := _MIDDLE.match(rest):
        kind, index, inside = match.groups()
        if kind == "resnets":
            return f"{part}.mid.block_{int(index) + 1}.{_in_vae_resnet(inside)}"
        return f"{part}.mid.attn_1.{_replaced(inside, _VAE_ATTENTION)}"
    return f"{part}.{_replaced(rest, _VAE_ENDS)}"


def unet_to_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file with its UNet under the released names."""
    prefix = prefix_of(file.shapes, _UNET)
    if prefix is None:
        return file
    inside = [key[len(prefix) :] for key in file.shapes if key.startswith(prefix)]
    blocks = Blocks.of_keys(inside)
    names = {key: unet_name(key, blocks) for key in inside}
    return renamed(
        file, {UNET + name: Origin((prefix + key,)) for key, name in names.items() if name is not None}
    )


def vae_to_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file with its VAE under the released names."""
    prefix = prefix_of(file.shapes, _VAE)
    if prefix is None:
        return file
    inside = [key[len(prefix) :] for key in file.shapes if key.startswith(prefix)]
    levels = 1 + max(int(match[1]) for key in inside if (match := _VAE_LEVEL.match(key)))
    origins = {
        FIRST_STAGE + vae_name(key, levels): Origin(
            (prefix + key,), _as_convolution if _projects(key) else unchanged
        )
        for key in inside
        if key.startswith(VAE_PARTS)
    }
    return renamed(file, origins)


def _in_resnet(name: str) -> str:
    """Released name inside a residual block of the UNet: the temporal one is the spatial one's part."""
    part, _, rest = name.partition(".")
    inside = _replaced(rest, _RES_BLOCK)
    return {"spatial_res_block": inside, "temporal_res_block": f"time_stack.{inside}"}.get(part, name)


def _in_attention(name: str) -> str:
    return _replaced(name, _TRANSFORMER)


def _from_resnet(name: str) -> str:
    """Diffusers' name inside a residual block, from the released one."""
    part, _, rest = name.partition(".")
    if part == "time_mixer":
        return name
    if part == "time_stack":
        return f"temporal_res_block.{_replaced(rest, _inverse(_RES_BLOCK))}"
    return f"spatial_res_block.{_replaced(name, _inverse(_RES_BLOCK))}"


def _from_attention(name: str) -> str:
    return _replaced(name, _inverse(_TRANSFORMER))


def _in_vae_resnet(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "temporal_res_block":
        return f"time_stack.{_replaced(rest, _RES_BLOCK)}"
    return {"spatial_res_block": _replaced(rest, _VAE_RES_BLOCK), "time_mixer": rest}.get(
        part, _replaced(name, _VAE_RES_BLOCK)
    )


def _replaced(name: str, names: dict[str, str]) -> str:
    """The name with the module at its beginning replaced."""
    for theirs, ours in names.items():
        if name == theirs or name.startswith(theirs + "."):
            return ours + name[len(theirs) :]
    return name


def _inverse(names: dict[str, str]) -> dict[str, str]:
    return {ours: theirs for theirs, ours in names.items()}


def _projects(key: str) -> bool:
    """Whether a weight is one of the attention's, a linear layer here and a 1×1 convolution there."""
    return ".mid_block.attentions." in key and key.endswith(".weight") and ".group_norm." not in key


def _as_convolution(weight: Tensor) -> Tensor:
    return weight[..., None, None] if weight.ndim == 2 else weight
