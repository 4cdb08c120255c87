"""Bounds on what a layer computes at once, so that its temporary tensors are small beside its features."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Pieces:
    """Bounds for every layer of a network; a layer within them is computed at once."""

    workspace: int | None = None  # bytes of a layer's temporary tensors; None: no bound
    skips_on_device: bool = True  # False: the skips of a UNet wait in host memory

    def size(self, count: int, each: int) -> int:
        """How many of `count` rows are computed at once, at least 1; `each`: temporary bytes of a row."""
        if self.workspace is None:
            return count
        return max(1, min(count, self.workspace // each))

    def groups(self, count: int, each: int) -> Iterator[slice]:
        """Slices of `count` rows, in order, of equal sizes but for the last."""
        most = self.size(count, each)
        even = -(-count // -(-count // most))  # no small last group
        return (slice(start, min(start + even, count)) for start in range(0, count, even))


WHOLE = Pieces()
"""Everything at once."""
