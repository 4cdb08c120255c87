"""A video whose frames several processes evaluate: which of them are one's own, and what it asks the others.

Layers over space see a frame alone. A convolution over time reads the frame before and the one after, so each
process gives its first and its last one to its neighbours. A normalisation over time has the moments of all
frames. A transformer over time sees one position of all frames: before it each process gives its frames at
others' positions for the others' frames at its own, and behind it all go back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Gather = Callable[[Tensor], Tensor]
"""The tensors of all processes in their order, (…) -> (processes, …)."""

PassOn = Callable[[Tensor, Tensor, int, bool], bool]
"""(x, what is received, step 1 or −1, whether there is a ring): x goes to the process `step` further; says
whether there is one as far behind, whose tensor is received."""

Swap = Callable[[Tensor, Sequence[int], Sequence[int]], Tensor]
"""(x, how many numbers of it go to each process, how many come from each), (N,) -> (M,): both by process."""


@dataclass(frozen=True)
class FrameShare:
    """Frames that a process evaluates of a video; every process has one or more.

    counts: frames of each process. index: of the process.
    """

    counts: tuple[int, ...]
    index: int
    gather: Gather
    pass_on: PassOn
    swap: Swap

    @property
    def num_frames(self) -> int:
        """How many frames are the process's own."""
        return self.counts[self.index]

    @property
    def own(self) -> slice:
        """The process's own frames, of the video."""
        start = sum(self.counts[: self.index])
        return slice(start, start + self.num_frames)

    def rows(self, x: Tensor) -> Tensor:
        """The own frames of videos with a row a frame: (B·T, …) -> (B·t, …)."""
        return x.unflatten(0, (-1, sum(self.counts)))[:, self.own].flatten(0, 1)

    def whole(self, x: Tensor) -> Tensor:
        """Videos of which each process has its own frames: (B, t, …) -> (B, T, …)."""
        held = x.new_zeros((x.shape[0], max(self.counts), *x.shape[2:]))
        held[:, : self.num_frames] = x
        parts = zip(self.gather(held), self.counts, strict=True)
        return torch.cat([part[:, :count] for part, count in parts], dim=1)

    def moments(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of all frames, from those of the own: in any shape, of equally large frames."""
        means, variances = self.gather(torch.stack((mean, variance))).unbind(1)  # by process
        parts = [count / sum(self.counts) for count in self.counts]
        mean = sum(part * each for part, each in zip(parts, means, strict=True))
        terms = zip(parts, means, variances, strict=True)
        return mean, sum(part * (within + (each - mean).square()) for part, each, within in terms)

    def neighbours(self, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """The frames before and after the own, which give their first and last; zeros at a video's ends."""
        earlier, later = first.new_zeros(first.shape), last.new_zeros(last.shape)
        self.pass_on(last.contiguous(), earlier, 1, False)
        self.pass_on(first.contiguous(), later, -1, False)
        return earlier, later

    def to_positions(self, x: Tensor) -> Tensor:
        """Own frames at all positions to all frames at own positions: (B, t, S, C) -> (B, T, s, C)."""
        positions = counts_of(x.shape[2], len(self.counts))
        each = x.shape[0] * positions[self.index] * x.shape[3]
        found = self._swapped(x.transpose(0, 1).split(positions, 2), [count * each for count in self.counts])
        return found.view(-1, x.shape[0], positions[self.index], x.shape[3]).transpose(0, 1).contiguous()

    def to_frames(self, x: Tensor, positions: int) -> Tensor:
        """The way back, for a number of positions in all: (B, T, s, C) -> (B, t, S, C)."""
        sizes, each = counts_of(positions, len(self.counts)), len(x) * self.num_frames * x.shape[3]
        found = self._swapped(x.split(self.counts, 1), [each * size for size in sizes])
        parts = zip(found.split([each * size for size in sizes]), sizes, strict=True)
        return torch.cat([part.view(len(x), self.num_frames, size, -1) for part, size in parts], dim=2)

    def _swapped(self, parts: Sequence[Tensor], received: Sequence[int]) -> Tensor:
        """The numbers that come from all processes in their order, (M,), for a tensor to each of them."""
        sent = [part.numel() for part in parts]
        packed = parts[0].new_empty(sum(sent))
        for part, into in zip(parts, packed.split(sent), strict=True):
            into.view(part.shape).copy_(part)
        return self.swap(packed, sent, received)


def counts_of(many: int, processes: int) -> tuple[int, ...]:
    """How many of some frames, or positions, each process has; the first ones have the more."""
    each, more = divmod(many, processes)
    return tuple(each + (index < more) for index in range(processes))
