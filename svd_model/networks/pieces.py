"""Bounds on what a layer computes at once, so that its temporary tensors are small beside its features."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Pieces:
    """Bounds for every layer of a network. A layer within them is computed at once, by its plain form.

    A layer beyond them writes groups of its rows into one tensor, over its input where nothing needs that.
    """

    workspace: int | None = None  # bytes of a layer's temporary tensors; None: no bound
    skips_on_device: bool = True  # False: the skips of a UNet wait in host memory

    def hold(self, size: int) -> bool:
        """Whether temporary tensors of so many bytes are within the bound."""
        return self.workspace is None or size <= self.workspace

    def size(self, count: int, each: int, more: int = 0) -> int:
        """How many of `count` rows make a group, at least 1.

        each: temporary bytes of a row; more: of a group beside its rows.
        """
        if self.hold(count * each + more):
            return count
        most = max(1, (self.workspace - more) // each)
        return -(-count // -(-count // most))  # so that all groups are of about one size

    def groups(self, count: int, each: int, more: int = 0) -> Iterator[slice]:
        """Groups of `count` rows, in order."""
        size = self.size(count, each, more)
        return (slice(start, min(start + size, count)) for start in range(0, count, size))


WHOLE = Pieces()
"""Everything at once."""
