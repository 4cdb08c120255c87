"""Weights that stream: the UNet's lie in host memory, and a stage's are on the device while the stage runs.

A layer outside of every stage, as of an embedding, has its weights copied for each call by its operations.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..networks.stages import Stage

_STAGE = re.compile(r"(?:input_blocks|output_blocks)\.\d+|\w+")


def largest_stage(sizes: Mapping[str, int]) -> int:
    """The most bytes of a UNet's weights on the device at once, from the bytes of each tensor by its key."""
    stages = Counter()
    for key, size in sizes.items():
        stages[_STAGE.match(key)[0]] += size
    return max(stages.values())


def stream(network: nn.Module, device: torch.device) -> Callable[[], None]:
    """Have each stage of a network in host memory run on the device; returns a function that ends this."""
    handles = []
    for stage in network.modules():
        if isinstance(stage, Stage):
            handles += _stream_stage(stage, device)

    def end() -> None:
        for handle in handles:
            handle.remove()

    return end


def move(network: nn.Module, device: torch.device) -> None:
    """Move weights to a device one by one; no two copies of all of them are there at once."""
    for place in _weights(network):
        place.put(place.tensor.to(device))


def pin(network: nn.Module) -> None:
    """Move weights to pages that a CUDA device reads without a wait, as far as the system has such pages."""
    with contextlib.suppress(RuntimeError):
        for place in _weights(network):
            place.put(place.tensor.pin_memory())


class _Place(NamedTuple):
    """A weight, and the names of a layer's weights among which it is."""

    named: dict[str, Tensor | None]
    name: str
    tensor: Tensor

    def put(self, tensor: Tensor) -> None:
        """Put a tensor in the weight's place."""
        is_parameter = isinstance(self.tensor, nn.Parameter) and tensor is not self.tensor
        self.named[self.name] = nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor


def _weights(network: nn.Module) -> Iterator[_Place]:
    for layer in network.modules():
        for named in (layer._parameters, layer._buffers):
            yield from (_Place(named, key, value) for key, value in list(named.items()) if value is not None)


def _stream_stage(stage: Stage, device: torch.device) -> list:
    """Hooks of a stage: its weights are copied before it runs, and the copies dropped when it is done."""
    weights = list(_weights(stage))

    def bring(*_) -> None:
        copies = [place.tensor.to(device, non_blocking=True, copy=True) for place in weights]
        for place, copy in zip(weights, copies, strict=True):
            place.put(copy)

    def drop(*_) -> None:
        for place in weights:
            place.put(place.tensor)

    # After a failed run too, since it is done again within less memory.
    return [stage.register_forward_pre_hook(bring), stage.register_forward_hook(drop, always_call=True)]
