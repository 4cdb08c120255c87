"""Hooks that weaken or sharpen a UNet's self-attention, for guidance and for how much moves.

Hooks of equal values are equal: their evaluations go together, and share what a run keeps.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from .hooks import Attend, Axis, Hooks, Place


@dataclass(frozen=True)
class Skipped(Hooks):
    """Self-attention of some transformers, along an axis, in which a token attends to itself alone."""

    axis: Axis
    layers: frozenset[str]  # names of places

    def changes(self, place: Place) -> bool:
        return place.name in self.layers

    def attention(self, place: Place, axis: Axis, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        if axis == self.axis and place.name in self.layers:
            return v
        return attend(q, k, v)


@dataclass(frozen=True)
class Sharpened(Hooks):
    """Self-attention over time whose softmax is sharper by a factor above 1, and softer below."""

    factor: float

    def attention(self, place: Place, axis: Axis, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        return attend(q, self.factor * k if axis == "time" else k, v)


def check_layers(name: str, layers: Collection[str], names: Collection[str]) -> None:
    """Raises ValueError for layers, an input by its name, that are none of a UNet's layers with attention."""
    unknown = [layer for layer in layers if layer not in names]
    if unknown:
        raise ValueError(
            f"{name} has {', '.join(unknown)}; this UNet's layers with attention are {', '.join(names)}."
        )


def spread(num_frames: int, positions: int) -> Tensor:
    """Numbers of frames, (T,), float32: a clip's, spread evenly over the positions 0 … positions − 1."""
    return torch.linspace(0, positions - 1, num_frames, dtype=torch.float32, device="cpu")
