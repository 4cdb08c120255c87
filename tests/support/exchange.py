"""What several processes tell each other, told by threads of one."""

import threading

import torch

from stillmotion.svd_model.layerwise import Share
from stillmotion.svd_model.networks.sharing import FrameShare, counts_of


class Exchange:
    """What several threads tell each other, each by its index."""

    def __init__(self, size):
        self._size, self._barrier = size, threading.Barrier(size, timeout=60)
        self._given = [None] * size

    def told(self, index, what):
        """What each thread says, by its index, once all have spoken."""
        self._given[index] = what
        self._barrier.wait()
        found = list(self._given)
        self._barrier.wait()
        return found

    def gather(self, index):
        """The function that gathers a thread's tensor with those of the others."""
        return lambda x: torch.stack(self.told(index, x))

    def pass_on(self, index):
        """The function that passes a thread's tensor on."""

        def pass_on(x, into, step, ring):
            assert x.is_contiguous() and into.is_contiguous()
            source, told = index - step, self.told(index, x)
            if not ring and not 0 <= source < self._size:
                return False
            into.copy_(told[source % self._size])
            return True

        return pass_on

    def swap(self, index):
        """The function that gives parts of a thread's tensor to all, and receives parts of theirs."""

        def swap(x, given, received):
            assert x.is_contiguous() and len(x) == sum(given)
            parts = [parts[index] for parts in self.told(index, x.split(list(given)))]
            assert [len(part) for part in parts] == list(received)
            return torch.cat(parts)

        return swap

    def share(self, counts, index, ring=False):
        """A thread's share of a clip to decode."""
        return Share(counts, index, ring, self.gather(index), self.pass_on(index))

    def frame_share(self, frames, index):
        """A thread's share of a video to evaluate."""
        ways = self.gather(index), self.pass_on(index), self.swap(index)
        return FrameShare(counts_of(frames, self._size), index, *ways)


class Ranks:
    """The place of a thread among others, with what pipelines ask of ranks."""

    def __init__(self, exchange: Exchange, rank: int, size: int):
        self.rank, self.size, self.device = rank, size, torch.device("cpu")
        self.is_first = rank == 0
        self._exchange, self._groups = exchange, {}
        self.gather, self.pass_on, self.swap = (
            way(rank) for way in (exchange.gather, exchange.pass_on, exchange.swap)
        )

    def group(self, size):
        """The place among so many threads in a row."""
        if size not in self._groups:
            first = self.rank - self.rank % size
            exchange = Exchange(size) if self.rank == first else None
            exchange = self._exchange.told(self.rank, exchange)[first]
            self._groups[size] = Ranks(exchange, self.rank - first, size)
        return self._groups[size]

    def agree(self, yes):
        """Whether all say yes."""
        return all(self._exchange.told(self.rank, yes))

    @classmethod
    def run(cls, size, work):
        """work(ranks) of each of several threads."""
        exchange, found = Exchange(size), [None] * size

        def one(rank):
            found[rank] = work(cls(exchange, rank, size))

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found
