"""A clip whose frames several processes decode: which of them are one's own, and what it asks the others.

A block has two convolutions over time, each of which reads one frame before and one after. So two frames of
each neighbour are exchanged once a block, behind its spatial part, and the first convolution is computed for
the inner one of both as well; the outer results are of no use and not read. Group norms have the moments of
all processes' frames.
"""

from dataclasses import dataclass
from functools import reduce

import torch

from ..networks import sharing
from ..networks.sharing import Gather, PassOn
from .moments import Moments

HALO = 2
"""Frames of each neighbour that a process holds beside its own."""


@dataclass(frozen=True)
class Share:
    """Frames that a process decodes of a clip; every process has HALO of them or more.

    counts: frames of each process. index: of the process. ring: whether the clip is a loop.
    """

    counts: tuple[int, ...]
    index: int
    ring: bool
    gather: Gather
    pass_on: PassOn

    @property
    def own(self) -> slice:
        """The process's own frames, of the clip."""
        start = sum(self.counts[: self.index])
        return slice(start, start + self.counts[self.index])

    @property
    def halo(self) -> tuple[int, int]:
        """How many frames of neighbours it holds in front of its own, and behind them."""
        last = len(self.counts) - 1
        return HALO * (self.ring or self.index > 0), HALO * (self.ring or self.index < last)

    @property
    def held(self) -> int:
        """How many frames it holds in all."""
        return sum(self.halo) + self.counts[self.index]

    def of_all(self, part: Moments) -> Moments:
        """Moments of all processes' frames, from those of its own."""
        size = part.count // self.counts[self.index]
        found = self.gather(torch.stack((part.mean, part.variance)))
        parts = zip(self.counts, found, strict=True)
        return reduce(Moments.merged, (Moments(count * size, *both) for count, both in parts))


def counts_of(frames: int, processes: int) -> tuple[int, ...] | None:
    """How many of a clip's frames each process decodes; None for too few to share, and for one process."""
    return None if processes == 1 or frames < HALO * processes else sharing.counts_of(frames, processes)
