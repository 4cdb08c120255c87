"""LoRA files of one adapter in the spellings of their writers, and the tiny UNet with one in its weights."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from stillmotion.svd_model.adapters.lora import LoRA, Strengths
from stillmotion.svd_model.checkpoint.layouts.diffusers import Blocks, diffusers_unet_name
from stillmotion.svd_model.checkpoint.sources import TensorFile
from stillmotion.svd_model.networks.unet import UNetParams
from support import diffusers_keys, golden_family

Shapes = Mapping[str, tuple[int, ...]]


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of a UNet's tensors by their released names."""
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def of_tensors(tensors: Mapping[str, Tensor], name: str = "lora.safetensors", **metadata) -> TensorFile:
    """A file of tensors, with the options of diffusers in its metadata if there are any."""
    notes = {"lora_adapter_metadata": json.dumps(metadata)} if metadata else {}
    return TensorFile.of_tensors(Path(name), dict(tensors), notes)


def released_names(released: Shapes) -> dict[str, str]:
    """Released names of the modules by diffusers' names, by the tests' own table."""
    named = diffusers_keys.unet({key: key for key in released})
    return {theirs.rpartition(".")[0]: ours.rpartition(".")[0] for theirs, ours in named.items()}


def renamed(peft: Mapping[str, Tensor], name: Callable[[str], str], down: str, up: str) -> dict[str, Tensor]:
    """A file of peft's, module by module under another name and with other words for the two matrices."""
    words = {"lora_A": down, "lora_B": up}
    result = {}
    for key, tensor in peft.items():
        module, part, _ = key.rsplit(".", 2)
        result[f"{name(module)}.{words[part]}"] = tensor
    return result


def processors(module: str) -> str:
    """The name of an attention's projection among diffusers' processors of 2023."""
    attention, _, projection = module.removesuffix(".0").rpartition(".")
    return f"unet.{attention}.processor.{projection}_lora"


def spellings(peft: Mapping[str, Tensor], released: Shapes) -> dict[str, dict[str, Tensor]]:
    """One adapter of the attention in every writer's names; alpha is the rank in all of them."""
    ours = released_names(released)
    kohya = {
        names: renamed(
            peft,
            lambda module, of=of: "lora_unet_" + of(module).replace(".", "_"),
            "lora_down.weight",
            "lora_up.weight",
        )
        for names, of in (("diffusers", str), ("released", ours.__getitem__))
    }
    ranks = {
        key.removesuffix(".lora_down.weight"): len(tensor)
        for key, tensor in kohya["diffusers"].items()
        if key.endswith(".lora_down.weight")
    }
    return {
        "peft": dict(peft),
        "PeftModel": renamed(peft, "base_model.model.{}".format, "lora_A.weight", "lora_B.weight"),
        "accelerate": renamed(peft, str, "lora_A.default.weight", "lora_B.default.weight")
        | {"conv_in.weight": torch.zeros(1), f"{next(iter(ours))}.base_layer.weight": torch.zeros(1)},
        "converted": renamed(peft, str, "lora.down.weight", "lora.up.weight"),
        "diffusers": renamed(peft, "unet.{}".format, "lora.down.weight", "lora.up.weight"),
        "newer diffusers": renamed(peft, "unet.{}".format, "lora_A.weight", "lora_B.weight"),
        "diffusers of 2023": renamed(peft, processors, "down.weight", "up.weight"),
        "kohya, diffusers' names": kohya["diffusers"]
        | {f"{name}.alpha": torch.tensor(float(rank)) for name, rank in ranks.items()},
        "kohya, released names": kohya["released"],
        "ComfyUI": renamed(
            peft, lambda m: "diffusion_model." + ours[m], "lora_down.weight", "lora_up.weight"
        ),
        "ComfyUI, whole differences": {
            f"diffusion_model.{ours[key.removesuffix('.lora_A.weight')]}.diff": peft[
                key.replace("lora_A", "lora_B")
            ]
            @ tensor
            for key, tensor in peft.items()
            if key.endswith(".lora_A.weight")
        },
    }


def random_pairs(released: Shapes, *modules: str, seed: int = 0, rank: int = 4) -> dict[str, Tensor]:
    """A file in ComfyUI's names for the linear layers whose names end with one of the words.

    A difference is about as large as the tests' own weights.
    """
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for key, shape in released.items():
        module = key.removesuffix(".weight")
        if len(shape) == 2 and module != key and module.endswith(modules):
            matrices = {"down": (rank, shape[1]), "up": (shape[0], rank)}
            for name, size in matrices.items():
                matrix = torch.randn(size, generator=generator) / size[1] ** 0.5
                tensors[f"diffusion_model.{module}.lora_{name}.weight"] = matrix
    return tensors


def as_diffusers(pairs: Mapping[str, Tensor], params: UNetParams) -> dict[str, Tensor]:
    """A file of `random_pairs` as diffusers' save_lora_weights names it."""
    blocks, result = Blocks.of_params(params), {}
    for key, tensor in pairs.items():
        module, matrix, _ = key.removeprefix("diffusion_model.").rsplit(".", 2)
        name = diffusers_unet_name(module, blocks)
        result[f"unet.{name}.lora.{matrix.removeprefix('lora_')}.weight"] = tensor
    return result


def write(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """Writes a file of tensors."""
    save_file(dict(tensors), path)
    return path


def state_with(lora: LoRA, strengths: Strengths) -> dict[str, Tensor]:
    """The weights of the tiny UNet with a LoRA."""
    state = dict(golden_family.unet().state_dict())
    for key, delta in lora.deltas.items():
        state[key] = state[key] + strengths.of(key) * delta.difference()
    return state
