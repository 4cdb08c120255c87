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
    """An actor; waiting in it costs no thread. A worker is named by its actor, which Ray restarts."""

    def __init__(self):
        self._starts, self._present = 0, set()
        self._refusal = self._failure = ""
        self._stop, self._release = asyncio.Event(), asyncio.Event()

    async def start(self, worker: str) -> None:
        """A worker is there."""
        self._starts += 1
        self._present.add(worker)

    async def leave(self, worker: str) -> None:
        """A worker has stopped."""
        self._present.discard(worker)

    async def refuse(self, sentence: str) -> None:
        """A worker can't begin."""
        self._refusal = sentence

    async def fail(self, worker: str, sentence: str) -> None:
        """A worker can't go on."""
        self._failure = sentence
        self._present.discard(worker)

    async def stop(self) -> None:
        """All workers are to stop."""
        self._stop.set()

    async def stopped(self) -> None:
        """Waits until all are to stop."""
        await self._stop.wait()

    async def release(self) -> None:
        """All workers have stopped: they may give up their rows, at which Ray ends them."""
        self._release.set()

    async def released(self) -> None:
        """Waits until all have stopped."""
        await self._release.wait()

    async def state(self) -> State:
        """What workers have said so far."""
        return State(self._starts, len(self._present), self._refusal, self._failure)
