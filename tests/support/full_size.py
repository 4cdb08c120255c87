"""Writes a random checkpoint from keys and shapes: python full_size.py KEYS.json OUT [DTYPE].

Tensors are written one by one, so that a file of 10 GB does not take 10 GB of memory.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

_NUMBERS = 2**24  # drawn once and used over and over: drawing 2.4 billion takes minutes
_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_CONDITIONER = "conditioner.embedders.3.encoder."


def write(keys: Path, out: Path, dtype: torch.dtype = torch.float16) -> None:
    """Writes norms at 1, biases at 0, and normal weights that preserve the variance of activations."""
    numbers = torch.randn(_NUMBERS, generator=torch.Generator().manual_seed(0))
    shapes = json.loads(keys.read_text())

    def make(key: str) -> Tensor:
        # Both VAEs get one encoder: core loads the first stage's, Stillmotion the conditioner's.
        if key.startswith("first_stage_model.encoder."):
            key = _CONDITIONER + key.removeprefix("first_stage_model.")
        shape = shapes[key]
        if key == _CONDITIONER + "quant_conv.weight":
            return torch.eye(8).view(8, 8, 1, 1)
        if len(shape) < 2:
            return torch.full(shape, float(key.endswith("weight")))
        count = math.prod(shape)
        values = numbers.repeat(-(-count // _NUMBERS))[:count] / math.sqrt(math.prod(shape[1:]))
        return values.view(shape)

    save(out, shapes, dtype, make)


def save(
    path: Path, shapes: Mapping[str, list[int]], dtype: torch.dtype, make: Callable[[str], Tensor]
) -> None:
    """Writes a safetensors file from tensors that are computed one by one."""
    header, _ = _header(shapes, dtype)
    with path.open("wb") as file:
        file.write(header)
        for key in shapes:
            values = make(key).to(dtype).contiguous().view(-1)
            file.write(values.view(torch.uint8).numpy())


def save_sparse(path: Path, shapes: Mapping[str, list[int]], dtype: torch.dtype) -> None:
    """Writes a sparse safetensors file of zeros."""
    header, size = _header(shapes, dtype)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)


def _header(shapes: Mapping[str, list[int]], dtype: torch.dtype) -> tuple[bytes, int]:
    """Header of a safetensors file, and the bytes of all tensors."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for key, shape in shapes.items():
        begin, end = end, end + dtype.itemsize * math.prod(shape)
        header[key] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, end


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), getattr(torch, sys.argv[3] if sys.argv[3:] else "float16"))
