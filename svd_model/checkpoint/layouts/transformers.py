"""The image tower under transformers' names, as diffusers' folders have it, and as ComfyUI saves it."""

import re

from torch import Tensor

from ..sources import TensorFile
from .origins import Origin, prefix_of, renamed, stacked
from .released import VISION

# Released name to transformers' name, outside of the layers.
_ENDS = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight",
    "ln_post.bias": "vision_model.post_layernorm.bias",
}
# The two names of a module, within a layer.
_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_RELEASED_LAYER, _SAVED_LAYER = "transformer.resblocks.{}.", "vision_model.encoder.layers.{}."
_TOWER = re.compile(r"vision_model\.(?:encoder|embeddings)\.")
_POSITION_NUMBERS = "vision_model.embeddings.position_ids"


def to_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file with its image tower under the released names."""
    prefix = prefix_of(file.shapes, _TOWER)
    if prefix is None:
        return file
    number = re.compile(re.escape(prefix) + r"vision_model\.encoder\.layers\.(\d{1,4})\.")
    layers = {match[1] for key in file.shapes if (match := number.match(key))}
    origins = {released: Origin((prefix + saved,)) for released, saved in _ENDS.items()}
    origins["proj"] = Origin((prefix + "visual_projection.weight",), _transposed)
    for layer in sorted(layers, key=int):
        origins |= _layer_origins(layer, prefix)
    view = renamed(file, {VISION + released: origin for released, origin in origins.items()})
    # Old versions of transformers saved the numbers of the positions, which say nothing.
    return view.without({prefix + _POSITION_NUMBERS})


def _layer_origins(layer: str, prefix: str) -> dict[str, Origin]:
    released, saved = _RELEASED_LAYER.format(layer), prefix + _SAVED_LAYER.format(layer)
    origins = {}
    for kind in ("weight", "bias"):
        for one, other in _LAYER.items():
            origins[f"{released}{one}.{kind}"] = Origin((f"{saved}{other}.{kind}",))
        qkv = tuple(f"{saved}self_attn.{part}_proj.{kind}" for part in "qkv")
        origins[f"{released}attn.in_proj_{kind}"] = Origin(qkv, stacked)
    return origins


def _transposed(projection: Tensor) -> Tensor:
    return projection.transpose(0, 1).contiguous()  # (output_dim, width) -> (width, output_dim)
