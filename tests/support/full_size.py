"""Writes a random float16 checkpoint with given keys and shapes: python full_size.py KEYS.json OUT."""

import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

_NUMBERS = 2**24  # drawn once and used over and over: drawing 2.4 billion takes minutes


def write(keys: Path, out: Path) -> None:
    """Norms at 1, biases at 0, the rest normal with a variance that keeps activations the same size."""
    numbers = torch.randn(_NUMBERS, generator=torch.Generator().manual_seed(0))
    tensors = {}
    for key, shape in json.loads(keys.read_text()).items():
        if len(shape) >= 2:
            count = math.prod(shape)
            values = numbers.repeat(-(-count // _NUMBERS))[:count] / math.sqrt(math.prod(shape[1:]))
            tensors[key] = values.view(shape).half()
        else:
            tensors[key] = torch.full(shape, float(key.endswith("weight")), dtype=torch.float16)
    _use_one_encoder(tensors)
    save_file(tensors, out)


def _use_one_encoder(tensors: dict[str, torch.Tensor]) -> None:
    """Gives both VAEs the same encoder, since core takes one of them and we the other."""
    conditioner = "conditioner.embedders.3.encoder."
    for key in [key for key in tensors if key.startswith("first_stage_model.encoder.")]:
        tensors[key] = tensors[conditioner + key.removeprefix("first_stage_model.")].clone()
    tensors[conditioner + "quant_conv.weight"] = torch.eye(8).half().view(8, 8, 1, 1)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
