"""Drivers of a batch on one machine: in this process, or in several that it starts.

A driver runs a job on tasks. All that makes a run go on later is in the store (record.py), not here.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait

from .outcomes import DUPLICATE, Outcome, Tally
from .record import Past, Record
from .rows import Row
from .stores import StoreError, open_store
from .work import Job, Task, Terms, Worker, digest_of

IN_FLIGHT = 2
"""Rows that a worker has: one that it makes a clip of, and one whose picture it reads."""

RECENT = 4096
"""Rows within which one that stands twice is seen, more than all workers have: two would be at it at once."""

_PATIENCE = 15.0  # seconds for a worker to finish writing


@dataclass(frozen=True)
class Orders:
    """What every worker is told; it travels to other processes."""

    open_job: Callable[[int, int], Job]  # of a worker's number, and how many there are
    out: str
    shard: tuple[int, int] = (0, 1)
    attempts: int = 3
    terms: Terms = field(default_factory=Terms)

    def record(self) -> Record:
        """A new part of the record."""
        return Record(open_store(self.out), self.shard, self.attempts)


def to_do(
    rows: Iterable[Row], fingerprint: str, shard: tuple[int, int], past: Past | None, tally: Tally
) -> Iterator[Task]:
    """Yields the rows of a shard that no earlier run was done with; the others are counted."""
    (number, shards), recent = shard, {}
    for row in rows:
        if shards > 1 and row.shard_of(shards) != number:
            continue
        digest = digest_of(fingerprint, row)
        state = past and past.state_of(digest)
        if state is not None:
            tally.skip(state)
        elif digest in recent:
            tally.skip(DUPLICATE)
        else:
            recent[digest] = None
            if len(recent) > RECENT:
                del recent[next(iter(recent))]
            yield Task(row, digest)


def run_here(job: Job, tasks: Iterable[Task], orders: Orders, report: Callable[[Outcome], None]) -> None:
    """Runs a job in this process.

    SIGTERM ends it at the next check as well, should its interrupt come where nothing can pass it on.
    """
    stopped = threading.Event()
    with interrupted_by_terminate(stopped.set):
        Worker(job, orders.record(), replace(orders.terms, stopped=stopped.is_set), report).run(tasks)


def run_workers(
    number: int, tasks: Iterable[Task], orders: Orders, report: Callable[[Outcome], None]
) -> None:
    """Runs a job in so many processes; one that ends is replaced, and its rows are tried again."""
    tasks, again, deaths = iter(tasks), deque(), 0
    hands = [_Hand(orders, index, number) for index in range(number)]
    try:
        while hands:
            for hand in wait_for(hands):
                message = hand.receive()
                if isinstance(message, Outcome):
                    hand.finish(message.digest)
                    report(message)
                    deaths = 0
                elif message is _DEAD and hand.dismissed and not hand.tasks:
                    hands.remove(hand)
                elif message is _DEAD:
                    deaths += 1
                    _check_deaths(hand, deaths, 2 * number * orders.attempts)
                    again.extend(hand.tasks)
                    hands[hands.index(hand)] = _Hand(orders, hand.index, number)
            for hand in hands:
                _feed(hand, tasks, again)
    finally:
        _dismiss(hands)


def _feed(hand: "_Hand", tasks: Iterator[Task], again: deque[Task]) -> None:
    while hand.opened and not hand.dismissed and len(hand.tasks) < IN_FLIGHT:
        task = again.popleft() if again else next(tasks, None)
        hand.send(task)
        if task is None:  # said at once: a worker that fails meanwhile would wait for another task
            hand.dismissed = True
        else:
            hand.tasks.append(task)


def _check_deaths(hand: "_Hand", deaths: int, most: int) -> None:
    if not hand.opened:
        raise StoreError("a worker ended at its start; what it said stands above")
    if deaths > most:
        raise StoreError(f"workers ended {deaths} times without a clip between; see what they said above")


_DEAD, _OPENED = "dead", "opened"


class _Hand:
    """The driver's side of a worker in another process."""

    def __init__(self, orders: Orders, index: int, number: int):
        self.index, self.opened, self.dismissed = index, False, False
        self.tasks: list[Task] = []
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, orders, index, number), daemon=True)
        self.process.start()
        other.close()

    def send(self, task: Task | None) -> None:
        """Sends a task, None for the end; a worker that has ended is seen when it is listened to."""
        with suppress(OSError):
            self.connection.send(task)

    def finish(self, digest: str) -> None:
        """Takes a task that is done with from the worker; a row that stands twice has one digest."""
        self.tasks.remove(next(task for task in self.tasks if task.digest == digest))

    def receive(self):
        """The worker's next message, _DEAD at its end; raises StoreError where its store fails.

        Raises ValueError where it can't begin.
        """
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            return _DEAD
        if message == _OPENED:
            self.opened = True
        elif isinstance(message, str):
            raise StoreError(message)
        elif isinstance(message, ValueError):
            raise message
        return message


def wait_for(hands: list[_Hand]) -> list[_Hand]:
    """Workers that have something to say."""
    by_connection = {hand.connection: hand for hand in hands}
    return [by_connection[connection] for connection in wait(list(by_connection))]


def _dismiss(hands: list[_Hand]) -> None:
    """Ends workers that are left: asks them, and ends by force those that do not."""
    for hand in hands:
        hand.process.terminate()
    for hand in hands:
        hand.process.join(_PATIENCE)
        if hand.process.is_alive():
            hand.process.kill()
            hand.process.join()


def _serve(connection: Connection, orders: Orders, index: int, number: int) -> None:
    """A worker's whole life, in its own process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver gets it too, and says what to do
    stopped, sending = threading.Event(), threading.Lock()

    def send(message) -> None:
        with sending, suppress(OSError):  # a driver that has ended
            connection.send(message)

    terms = replace(orders.terms, stopped=stopped.is_set)
    with interrupted_by_terminate(stopped.set), suppress(KeyboardInterrupt):
        try:
            job = orders.open_job(index, number)
        except (ValueError, OSError) as error:
            send(ValueError(str(error)))
            return
        try:
            worker = Worker(job, orders.record(), terms, send)
            send(_OPENED)
            worker.run(_received(connection, stopped))
        except StoreError as error:
            send(str(error))


def _received(connection: Connection, stopped: threading.Event) -> Iterator[Task]:
    """Yields the driver's tasks; where it has ended without a word, the work ends too.

    A forked worker is told of no end, as others have its driver's side of the connection, too.
    """
    driver = os.getppid()
    with suppress(EOFError, OSError):
        while not stopped.is_set() and os.getppid() == driver:
            if not connection.poll(0.2):
                continue
            if (task := connection.recv()) is None:
                return
            yield task
    stopped.set()


@contextmanager
def interrupted_by_terminate(also: Callable[[], object] = bool) -> Iterator[None]:
    """A block that SIGTERM, which schedulers send, interrupts as Ctrl-C does; in the main thread alone."""

    def interrupt(*_) -> None:
        also()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
