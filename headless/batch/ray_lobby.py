"""Where the workers on a Ray cluster and their driver meet: who came, what keeps one, whether to stop."""

import asyncio
from typing import NamedTuple


class State(NamedTuple):
    """What workers have said."""

    starts: int  # of workers, also of those that took an ended one's place
    present: int
    refusal: str  # why a worker can't begin: a mistake in what it was told
    failure: str  # why one can't go on: a store that fails


class Lobby:
    """An actor; waiting in it costs no thread."""

    def __init__(self):
        self._starts = self._left = 0
        self._refusal = self._failure = ""
        self._stop = asyncio.Event()

    async def start(self) -> None:
        """A worker is there."""
        self._starts += 1

    async def leave(self) -> None:
        """A worker has stopped."""
        self._left += 1

    async def refuse(self, sentence: str) -> None:
        """A worker can't begin."""
        self._refusal = sentence

    async def fail(self, sentence: str) -> None:
        """A worker can't go on."""
        self._failure, self._left = sentence, self._left + 1

    async def stop(self) -> None:
        """All workers are to stop."""
        self._stop.set()

    async def stopped(self) -> None:
        """Waits until all are to stop."""
        await self._stop.wait()

    async def state(self) -> State:
        """What workers have said so far."""
        return State(self._starts, self._starts - self._left, self._refusal, self._failure)
