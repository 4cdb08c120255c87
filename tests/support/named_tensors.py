"""Tensors that follow from their names, by the rules of the numbers in tests/golden."""

import math
import zlib

import numpy as np
import torch
from torch import Tensor, nn


class NamedTensors:
    """Weights and inputs drawn from a generator that is seeded with prefix + name."""

    def __init__(self, prefix: str = ""):
        self.prefix = prefix

    def draw(self, name: str, shape) -> Tensor:
        seed = zlib.crc32((self.prefix + name).encode())
        values = np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(shape), dtype=np.float32)
        return torch.from_numpy(np.asarray(values))

    def input(self, name: str, shape) -> Tensor:
        return self.draw("input:" + name, shape)

    def weight(self, key: str, shape) -> Tensor:
        values = self.draw(key, shape)
        if key.endswith("mix_factor"):
            return values
        if len(shape) == 1 and key.endswith("weight"):
            return 1 + 0.1 * values
        if len(shape) <= 1:
            return 0.05 * values
        return values / math.sqrt(math.prod(shape[1:]))

    def fill(self, module: nn.Module, key_prefix: str = "") -> nn.Module:
        """Sets every parameter of a module, which may be on meta, to its named values."""
        values = {key: self.weight(key_prefix + key, t.shape) for key, t in module.state_dict().items()}
        module.load_state_dict(values, strict=True, assign=True)
        return module.eval().requires_grad_(False)
