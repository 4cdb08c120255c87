"""Names of a LoRA's tensors: which module of the UNet each is for, and which part of its difference it is."""

import re
from typing import NamedTuple

from ..checkpoint import sizes
from ..checkpoint.layouts.diffusers import Blocks, diffusers_unet_name

DOWN, UP, UP_BIAS, ALPHA, WHOLE, WHOLE_BIAS = "down", "up", "bias of up", "alpha", "diff", "diff_b"

_ENDINGS = {
    ".lora.down.weight": DOWN,  # diffusers' save_lora_weights
    ".lora.up.weight": UP,
    ".lora_A.weight": DOWN,  # peft
    ".lora_B.weight": UP,
    ".lora_B.bias": UP_BIAS,
    ".lora_down.weight": DOWN,  # kohya's scripts and ComfyUI
    ".lora_up.weight": UP,
    ".alpha": ALPHA,
    ".diff": WHOLE,  # ComfyUI
    ".diff_b": WHOLE_BIAS,
}
_NAMED_ADAPTER = re.compile(r"\.lora_([AB])\.[^.]+\.(weight|bias)$")  # peft, in a model's own state
_PROCESSOR = re.compile(r"(?:\.processor)?\.to_(q|k|v|out)_lora\.(down|up)\.weight$")
_WRAPPERS = (
    # In front of a module's name, in any order.
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "unet.",
    "model.",
    "module.",
    "lora_unet_",
    "lycoris_",
)
_OF_THE_BASE = ".base_layer."


class Spelled(NamedTuple):
    """A key of a file in parts: the module's name as it stands there, and what of it the tensor is."""

    module: str
    part: str


def spelled(key: str) -> Spelled | None:
    """The parts of a key of a LoRA; None for any other key."""
    key = _NAMED_ADAPTER.sub(r".lora_\1.\2", key)
    key = _PROCESSOR.sub(_as_layer, key)
    ending = next((ending for ending in _ENDINGS if key.endswith(ending)), None)
    return None if ending is None else Spelled(key.removesuffix(ending), _ENDINGS[ending])


def is_of_the_base(key: str) -> bool:
    """Whether a key is of a layer under its adapter, in a state that was saved while training."""
    return _OF_THE_BASE in key


def without_wrappers(module: str) -> str:
    """The name of a module without all that trainers of LoRAs put in front of it."""
    while wrapper := next((wrapper for wrapper in _WRAPPERS if module.startswith(wrapper)), None):
        module = module.removeprefix(wrapper)
    return module


def modules_by_name(shapes: sizes.Shapes) -> dict[str, str]:
    """The released names of a UNet's modules by each of their names, from its tensors' shapes.

    The names are the released one, diffusers' and both with "_" for each dot, as kohya's scripts write them.
    """
    released = dict.fromkeys(key.rpartition(".")[0] for key in shapes)
    blocks = Blocks.of_params(sizes.unet_params(shapes))
    names = {name: name for name in released}
    names |= {diffusers_unet_name(name, blocks): name for name in released}
    return names | {name.replace(".", "_"): module for name, module in names.items()}


def _as_layer(match: re.Match) -> str:
    layer = "to_out.0" if match[1] == "out" else f"to_{match[1]}"
    return f".{layer}.lora.{match[2]}.weight"
