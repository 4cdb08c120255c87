"""The image tower under transformers' names, as ComfyUI saves it, seen under those of the released files."""

import re
from dataclasses import replace

import torch
from torch import Tensor

from .layout import VISION
from .sources import TensorFile

# Released name, transformers' name; {} is the number of the layer.
_ENDS = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight",
    "ln_post.bias": "vision_model.post_layernorm.bias",
}
_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_OURS, _THEIRS = "transformer.resblocks.{}.", "vision_model.encoder.layers.{}."
_PROJECTION = "visual_projection.weight"  # the transpose of proj
_FUSED = ("attn.in_proj_weight", "attn.in_proj_bias")  # of q, k and v one after the other


def to_released_names(file: TensorFile) -> TensorFile:
    """The file with its image tower under the released names; as it is where it has them already."""
    if not any(key.startswith(VISION + "vision_model.") for key in file.shapes):
        return file
    sources = _sources(file)
    taken = {source for found in sources.values() for source in found}
    shapes = {key: shape for key, shape in file.shapes.items() if key not in taken}
    dtypes = {key: file.dtypes[key] for key in shapes}
    for key, found in sources.items():
        shapes[key] = _shape(key, file.shapes[found[0]])
        dtypes[key] = file.dtypes[found[0]]

    def read(key: str) -> Tensor:
        if key not in sources:
            return file.read(key)
        tensors = [file.read(source) for source in sources[key]]
        if key.endswith(_FUSED):
            return torch.cat(tensors)
        return tensors[0].T.contiguous() if key == VISION + "proj" else tensors[0]

    return replace(file, shapes=shapes, dtypes=dtypes, read=read)


def _sources(file: TensorFile) -> dict[str, list[str]]:
    """Released names to the names in the file that they are made of, where these are there."""
    names = {ours: [theirs] for ours, theirs in _ENDS.items()} | {"proj": [_PROJECTION]}
    layers = {
        int(n)
        for key in file.shapes
        for n in re.findall(r"visual\.vision_model\.encoder\.layers\.(\d+)\.", key)
    }
    for layer in sorted(layers):
        ours, theirs = _OURS.format(layer), _THEIRS.format(layer)
        for kind in ("weight", "bias"):
            names |= {f"{ours}{a}.{kind}": [f"{theirs}{b}.{kind}"] for a, b in _LAYER.items()}
            names[f"{ours}attn.in_proj_{kind}"] = [f"{theirs}self_attn.{part}_proj.{kind}" for part in "qkv"]
    found = {VISION + ours: [VISION + name for name in theirs] for ours, theirs in names.items()}
    return {ours: theirs for ours, theirs in found.items() if all(name in file.shapes for name in theirs)}


def _shape(key: str, source: tuple[int, ...]) -> tuple[int, ...]:
    if key.endswith(_FUSED):
        return (3 * source[0], *source[1:])
    return source[::-1] if key == VISION + "proj" else source
