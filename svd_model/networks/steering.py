"""Hooks that weaken or sharpen a UNet's self-attention, for guidance and for how much moves."""

from collections.abc import Collection

from torch import Tensor

from .hooks import Attend, Axis, Hooks, Place


class Skipped(Hooks):
    """Self-attention of some transformers, along an axis, in which a token attends to itself alone."""

    def __init__(self, axis: Axis, numbers: Collection[int]):
        self._axis, self._numbers = axis, frozenset(numbers)

    def attention(self, place: Place, axis: Axis, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        if axis == self._axis and place.number in self._numbers:
            return v
        return attend(q, k, v)


class Sharpened(Hooks):
    """Self-attention over time whose softmax is sharper by a factor above 1, and softer below."""

    def __init__(self, factor: float):
        self._factor = factor

    def attention(self, place: Place, axis: Axis, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        return attend(q, self._factor * k if axis == "time" else k, v)
