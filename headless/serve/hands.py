"""Workers of the service: a thread each, with what makes clips on a GPU of its own, where there is one."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..batch.outcomes import DONE, ENDED, REFUSED, SKIPPED, TIMED_OUT, Outcome
from ..batch.rows import Row
from ..batch.stores import StoreError
from ..batch.work import Job, TimeOut, put_clip, with_memory
from .desk import ATTEMPTS, CancelledError, ClosingError, Desk, Ticket

logger = logging.getLogger(__name__)

MOST_FAULTS = 3
"""Errors of no clip's fault, one after the other, from which on the service says that it is ill."""

PATIENCE = 30.0  # seconds for a clip to be written at the end


class Maker(Job, Protocol):
    """What makes the clips of a service: a batch's job that says more; tests put another in its place."""

    def work(self, row: Row) -> float:
        """The work of a clip as a multiple of the checkpoint's own; raises ValueError."""

    def load(self) -> None:
        """Loads the weights."""

    def make(
        self,
        row: Row,
        picture: bytes,
        check: Callable[[], None],
        progress: Callable[[str, int, int], object],
    ) -> Callable[[Path], None]:
        """Makes a clip as a job does; progress: takes a stage, how much of it is done, and of what."""


class Hands:
    """The workers of a desk."""

    def __init__(self, desk: Desk, makers: list[Maker]):
        self.desk, self._makers = desk, makers
        self._faults, self.complaint = 0, ""
        self._loaded: list[Maker] = []
        self._threads = [
            threading.Thread(target=self._work, args=(maker,), name=f"clips-{number}", daemon=True)
            for number, maker in enumerate(makers)
        ]

    @property
    def loaded(self) -> bool:
        """Whether all weights are loaded."""
        return len(self._loaded) == len(self._makers)

    @property
    def well(self) -> bool:
        """Whether clips are made, or could be."""
        return all(thread.is_alive() for thread in self._threads) and self._faults < MOST_FAULTS

    def start(self) -> None:
        """Starts the workers, which load their weights."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the workers at their next step; clips under way are left to the next service."""
        self.desk.close()
        for thread in self._threads:
            thread.join(PATIENCE)
        try:
            for ticket in self.desk.tickets_under_way():  # whose step is long; it didn't end the process
                self.desk.record.end(ticket.key, ATTEMPTS)
            self.desk.record.flush()
        except StoreError as error:
            logger.error("%s", error)

    def _work(self, maker: Maker) -> None:
        try:
            maker.load()
            self._loaded.append(maker)
        except Exception as error:
            logger.exception("the weights can't be loaded")
            self.complaint = f"the weights can't be loaded: {error}"
            return
        while (ticket := self.desk.next()) is not None:
            try:
                self._make(maker, ticket)
                self._faults = 0
            except StoreError as error:
                logger.error("%s", error)
                self.desk.fail(ticket, "the store failed; try again later.")
            except Exception:
                logger.exception("a clip can't be made by no fault of its own")
                self._faults += 1
                self.desk.fail(ticket, "the service failed; its log says why.")

    def _make(self, maker: Maker, ticket: Ticket) -> None:
        """Makes a clip and records it. One that ended the process often enough is refused at last."""
        desk, key = self.desk, ticket.key
        attempt = desk.record.attempts_at(key)
        if attempt >= desk.record.attempts:
            desk.record.end(key, attempt)
            desk.settle(ticket, _outcome(ticket, ENDED, f"the clip ended the service {attempt} times."))
            return
        desk.record.begin(key, attempt + 1)
        try:
            outcome = self._outcome_of(maker, ticket)
        except CancelledError:
            desk.drop(ticket)
        except ClosingError:
            desk.put_back(ticket)
        else:
            desk.settle(ticket, outcome)
            desk.counts.lately.append(sum(outcome.seconds.values()))
        finally:
            desk.record.end(key, attempt + 1)

    def _outcome_of(self, maker: Maker, ticket: Ticket) -> Outcome:
        desk, start, seconds = self.desk, time.monotonic(), {}

        def check() -> None:
            if desk.closing.is_set():
                raise ClosingError
            if ticket.cancelled.is_set():
                raise CancelledError
            if time.monotonic() - start > desk.limits.seconds:
                raise TimeOut(f"the clip took longer than {desk.limits.seconds:g} s.")

        def progress(stage: str, done: int, total: int) -> None:
            ticket.stage = (stage, done, total)

        try:
            if desk.has_clip(ticket.key):  # by another service, or since it was asked for
                return _outcome(ticket, SKIPPED)
            picture = desk.picture_of(ticket)
            write = with_memory(lambda: maker.make(ticket.row, picture, check, progress), check)
            seconds["make"] = time.monotonic() - start
            progress("writing", 0, 1)
            size = put_clip(desk.store, ticket.key, desk.extension, write)
            seconds["write"] = time.monotonic() - start - seconds["make"]
        except FileNotFoundError:
            return _outcome(ticket, REFUSED, "the picture is gone from the store; ask again.")
        except (ValueError, OSError) as error:
            return _outcome(ticket, REFUSED, str(error))
        except TimeOut as error:
            return _outcome(ticket, TIMED_OUT, str(error))
        return Outcome(ticket.row.image, ticket.key, DONE, ticket.key, "", size, seconds)


def _outcome(ticket: Ticket, state: str, reason: str = "") -> Outcome:
    return Outcome(ticket.row.image, ticket.key, state, ticket.key, reason)
