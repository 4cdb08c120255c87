"""Weights that stream: the UNet's lie in host memory, and a stage's are on the device while the stage runs.

A layer outside of every stage, as of an embedding, has its weights copied for each call by its operations.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch import nn

from ..networks.unet import Stage

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


def pin(network: nn.Module) -> None:
    """Move weights to pages that a CUDA device reads without a wait, as far as the system has such pages."""
    with contextlib.suppress(RuntimeError):
        for layer, name, weight in _weights(network):
            _put(layer, name, nn.Parameter(weight.pin_memory(), requires_grad=False))


def _stream_stage(stage: Stage, device: torch.device) -> list:
    """Hooks of a stage: its weights are copied before it runs, and the copies dropped when it is done."""
    weights = _weights(stage)

    def bring(*_) -> None:
        copies = [weight.to(device, non_blocking=True, copy=True) for _, _, weight in weights]
        for (layer, name, _), copy in zip(weights, copies, strict=True):
            _put(layer, name, nn.Parameter(copy, requires_grad=False))

    def drop(*_) -> None:
        for place in weights:
            _put(*place)

    # After a failed run too, since it is done again within less memory.
    return [stage.register_forward_pre_hook(bring), stage.register_forward_hook(drop, always_call=True)]


def _weights(network: nn.Module) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Each weight of a network, with its layer and its name there."""
    layers = ((layer, layer._parameters.items()) for layer in network.modules())
    return [(layer, name, weight) for layer, named in layers for name, weight in named if weight is not None]


def _put(layer: nn.Module, name: str, weight: nn.Parameter) -> None:
    layer._parameters[name] = weight
