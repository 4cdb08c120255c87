"""Hooks with which a caller changes features inside a UNet, and the places of these calls.

A subclass of Hooks overrides the calls that it changes, and goes to the UNet as its argument `hooks`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from torch import Tensor, nn

from .pieces import Pieces

Axis = Literal["space", "time"]
"""Axis along which a transformer block attends: positions of a frame, or frames of a position."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A layer's own attention: (q, k, v) -> its result."""


class Place(NamedTuple):
    """Place of a stage in a UNet."""

    part: Literal["input", "middle", "output"]
    index: int  # of the stage in its part
    level: int  # how often the features of its residual blocks have been halved
    number: int | None  # of its transformer, counted from the first stage; None where it has none
    name: str | None = None  # of its transformer, counted in its part: d0 and on, m0, u0 and on


class Hooks:
    """Calls that a UNet makes at its places. These change nothing.

    A hook may write over x and skip, never over context, which serves all steps of a run.
    """

    def changes(self, place: Place) -> bool:
        """Whether these hooks may change anything in the stage at a place."""
        return self is not NO_HOOKS

    def skip(self, place: Place, x: Tensor) -> Tensor:
        """Features x (B·T, C, H, W) that an output stage joins as its skip, or that the middle gives."""
        return x

    def joined(self, place: Place, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Features x (B·T, C, H, W) and skip (B·T, C', H, W) that an output stage joins."""
        return x, skip

    def block(self, place: Place, axis: Axis, block: nn.Module, x: Tensor, context, pieces: Pieces) -> Tensor:
        """Output of a transformer block, in the shape of x.

        x: (B·T, S, C) for axis "space", (B, T, S, C) for "time". context: the block's second input. pieces:
        its third, with whose bounds the block may write its output over x.
        """
        return block(x, context, pieces, partial(self.attention, place, axis))

    def attention(self, place: Place, axis: Axis, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        """Result of a block's self-attention before its output layer, in the shape of v.

        q, k, v: (frames, S, C) for axis "space", (positions, T, C) of one video for "time": all rows of the
        block, or in pieces one group of them after another. attend: attention that nothing changes.
        """
        return attend(q, k, v)


NO_HOOKS = Hooks()


@dataclass(frozen=True)
class _Both(Hooks):
    """The calls of two hooks, neither of which replaces a block: the first one's, then the second's."""

    first: Hooks
    second: Hooks

    def changes(self, place: Place) -> bool:
        return self.first.changes(place) or self.second.changes(place)

    def skip(self, place: Place, x: Tensor) -> Tensor:
        return self.second.skip(place, self.first.skip(place, x))

    def joined(self, place: Place, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        return self.second.joined(place, *self.first.joined(place, x, skip))

    def attention(self, place: Place, axis: Axis, q: Tensor, k: Tensor, v: Tensor, attend: Attend) -> Tensor:
        def second(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return self.second.attention(place, axis, q, k, v, attend)

        return self.first.attention(place, axis, q, k, v, second)


def both(first: Hooks, second: Hooks) -> Hooks:
    """Hooks that make the changes of two, of which neither replaces a block."""
    if first is NO_HOOKS or second is NO_HOOKS:
        return second if first is NO_HOOKS else first
    return _Both(first, second)
