"""Diffusers' names for the weights of the released files, for four levels of two blocks."""

import re

from torch import Tensor

RES_BLOCK = (
    (r"^in_layers\.0\.", "norm1."),
    (r"^in_layers\.2\.", "conv1."),
    (r"^emb_layers\.1\.", "time_emb_proj."),
    (r"^out_layers\.0\.", "norm2."),
    (r"^out_layers\.3\.", "conv2."),
    (r"^skip_connection\.", "conv_shortcut."),
)
TRANSFORMER = (
    (r"^time_stack\.", "temporal_transformer_blocks."),
    (r"^time_pos_embed\.0\.", "time_pos_embed.linear_1."),
    (r"^time_pos_embed\.2\.", "time_pos_embed.linear_2."),
)
UNET_ENDS = (
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^label_emb\.0\.0\.", "add_embedding.linear_1."),
    (r"^label_emb\.0\.2\.", "add_embedding.linear_2."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.", "conv_out."),
)
VAE_RES_BLOCK = ((r"^nin_shortcut\.", "conv_shortcut."),)
VAE_ENDS = (
    (r"^mid\.attn_1\.norm\.", "mid_block.attentions.0.group_norm."),
    (r"^mid\.attn_1\.([qkv])\.", r"mid_block.attentions.0.to_\1."),
    (r"^mid\.attn_1\.proj_out\.", "mid_block.attentions.0.to_out.0."),
    (r"^norm_out\.", "conv_norm_out."),
    (r"^conv_out\.time_mix_conv\.", "time_conv_out."),
)
VISION = (
    (r"^class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^ln_post\.", "vision_model.post_layernorm."),
    (r"^transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
)


def unet(state: dict[str, Tensor], num_res_blocks: int = 2) -> dict[str, Tensor]:
    """Renames our UNet's weights to diffusers' names; other names stay."""
    return {_unet_key(key, num_res_blocks + 1): tensor for key, tensor in state.items()}


def vae(encoder: dict[str, Tensor], decoder: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames weights of our encoder with quant_conv, and of our temporal decoder, to diffusers' names."""
    renamed = {}
    for key, tensor in (encoder | decoder).items():
        part, _, rest = key.partition(".")
        if part == "quant_conv":
            renamed[key] = tensor
            continue
        name = f"{part}.{_vae_key(rest, temporal=part == 'decoder')}"
        projection = ".attentions.0.to_" in name and name.endswith("weight")
        renamed[name] = tensor[:, :, 0, 0] if projection else tensor  # a linear layer in diffusers
    return renamed


def vision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the image tower's weights to transformers' names, with the fused projection split."""
    renamed = {}
    for key, tensor in state.items():
        if key == "proj":
            renamed["visual_projection.weight"] = tensor.T.contiguous()
        elif ".attn.in_proj_" in key:
            layer, kind = key.split(".attn.in_proj_")
            for name, part in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"{_rename(layer + '.', VISION)}self_attn.{name}_proj.{kind}"] = part
        else:
            renamed[_rename(key, VISION)] = tensor
    return renamed


def _unet_key(key: str, stages: int) -> str:
    match = re.match(r"(input_blocks|output_blocks|middle_block)\.(\d+)\.(?:(\d+)\.)?(.*)", key)
    if not match or key.startswith("input_blocks.0."):
        return _rename(key, UNET_ENDS)
    side, number, layer, rest = match[1], int(match[2]), match[3], match[4]
    if side == "middle_block":
        rest = f"{layer}.{rest}" if layer else rest
        return f"mid_block.{'attentions.0.' if number == 1 else f'resnets.{number // 2}.'}" + _layer(rest)
    if side == "input_blocks":
        level, index = divmod(number - 1, stages)
        if rest.startswith("op."):
            return f"down_blocks.{level}.downsamplers.0.conv.{rest[3:]}"
        place = f"down_blocks.{level}"
    else:
        level, index = divmod(number, stages)
        if rest.startswith("conv."):
            return f"up_blocks.{level}.upsamplers.0.{rest}"
        place = f"up_blocks.{level}"
    return f"{place}.{'resnets' if layer == '0' else 'attentions'}.{index}." + _layer(rest)


def _layer(rest: str) -> str:
    """Renames a key inside a residual block or transformer."""
    if re.match(r"(norm|proj_in|proj_out|transformer_blocks|time_stack\.\d|time_pos_embed)\b", rest):
        return _rename(rest, TRANSFORMER)
    if rest.startswith("time_mixer."):
        return rest
    if rest.startswith("time_stack."):
        return "temporal_res_block." + _rename(rest.removeprefix("time_stack."), RES_BLOCK)
    return "spatial_res_block." + _rename(rest, RES_BLOCK)


def _vae_key(key: str, temporal: bool) -> str:
    match = re.match(r"(down|up)\.(\d)\.(block|downsample|upsample)\.(?:(\d)\.)?(.*)", key)
    middle = re.match(r"mid\.block_([12])\.(.*)", key)
    if middle:
        return f"mid_block.resnets.{int(middle[1]) - 1}." + _vae_block(middle[2], temporal)
    if not match:
        return _rename(key, VAE_ENDS)
    direction, level, part, index, rest = match[1], int(match[2]), match[3], match[4], match[5]
    place = f"{direction}_blocks.{3 - level if direction == 'up' else level}"
    if part == "block":
        return f"{place}.resnets.{index}." + _vae_block(rest, temporal)
    return f"{place}.{part}rs.0.{rest}"


def _vae_block(rest: str, temporal: bool) -> str:
    if not temporal:
        return _rename(rest, VAE_RES_BLOCK)
    if rest == "mix_factor":
        return "time_mixer.mix_factor"
    if rest.startswith("time_stack."):
        return "temporal_res_block." + _rename(rest.removeprefix("time_stack."), RES_BLOCK)
    return "spatial_res_block." + _rename(rest, VAE_RES_BLOCK)


def _rename(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
