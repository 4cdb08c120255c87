"""What several processes tell each other, told by threads of one."""

import threading

import torch

from stillmotion.svd_model.layerwise import Share


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

    def share(self, counts, index, ring=False):
        """A thread's share of a clip."""

        def pass_on(x, into, step, ring):
            assert x.is_contiguous() and into.is_contiguous()
            source, told = index - step, self.told(index, x)
            if not ring and not 0 <= source < self._size:
                return False
            into.copy_(told[source % self._size])
            return True

        return Share(counts, index, ring, lambda x: torch.stack(self.told(index, x)), pass_on)


class Ranks:
    """The place of a thread among others, with what pipelines ask of ranks."""

    def __init__(self, exchange: Exchange, rank: int, size: int):
        self.rank, self.size, self.device = rank, size, torch.device("cpu")
        self.is_first = rank == 0
        self._exchange = exchange
        self.pass_on = exchange.share((), rank).pass_on

    def gather(self, x):
        """The tensors of all."""
        return torch.stack(self._exchange.told(self.rank, x))

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
