"""A worker: rows in, clips and records out; threads read the next picture and write the last clip."""

import hashlib
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from ...svd_model.layerwise import is_out_of_memory
from . import remote
from .digests import Digests
from .outcomes import ASIDE, DONE, DUPLICATE, ENDED, REFUSED, SKIPPED, TIMED_OUT, Outcome
from .patience import TRIES, pause
from .places import identity, is_address
from .record import Record, clip_name
from .rows import Row
from .stores import Store, StoreError

MOST_PICTURE_BYTES = 2**30
_FIRST_WAIT = 1.0  # for memory that others use

Made = TypeVar("Made")


class Job(Protocol):
    """What makes the clips of rows; every driver runs it, and tests put another in its place."""

    fingerprint: str
    """All but the row that a clip depends on."""
    extension: str

    def key(self, row: Row, picture: str) -> str:
        """The content key of the clip of a row, whose picture has a SHA-256; raises ValueError."""

    def make(self, row: Row, picture: bytes, check: Callable[[], None]) -> Callable[[Path], None]:
        """Makes a clip, and returns what writes it to a file, in another thread; raises ValueError.

        check: called often, raises what ends the work.
        """


class Task(NamedTuple):
    """A row to do, and its digest."""

    row: Row
    digest: str


class TimeOut(Exception):
    """A clip that takes longer than its time."""


@dataclass(frozen=True)
class Terms:
    """What holds for all rows of a run."""

    timeout: float | None = None  # seconds
    again: Collection[str] = ()  # states of rows to try once more
    stopped: Callable[[], bool] = bool


@dataclass
class _Item:
    """A row whose picture is read, or that is done with already."""

    task: Task
    key: str | None = None
    picture: bytes = b""
    repeated: bool = False  # its key has come in this run
    outcome: Outcome | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def digest_of(fingerprint: str, row: Row) -> str:
    """SHA-256 of a row, its picture's place, size and time, and all that the job's clips depend on."""
    place = row.sha256 or ""
    if not place and not row.fault:
        try:
            place = identity(row.place)
        except (OSError, ValueError):
            place = f"{row.place}\0missing"
    return hashlib.sha256("\0".join((fingerprint, place, row.text)).encode("utf-8", "replace")).hexdigest()


class Worker:
    """One that makes clips of rows, and keeps its part of the record."""

    def __init__(self, job: Job, record: Record, terms: Terms, report: Callable[[Outcome], None]):
        """report: takes each outcome, in any of three threads."""
        self._job, self._record, self._terms, self._report = job, record, terms, report
        self._seen = Digests()
        self._written: Future | None = None

    def run(self, tasks: Iterable[Task]) -> None:
        """Makes the clips of all rows; raises StoreError where the store fails.

        On KeyboardInterrupt the clip under way is dropped, and the one that is being written finished.
        """
        try:
            with (
                ThreadPoolExecutor(1, "write") as self._writer,
                closing(_ahead(map(self._prepared, tasks))) as items,
            ):
                for item in items:
                    self._check_stopped()
                    if item.outcome is None:
                        self._make(item)
                    else:
                        self._settle(item.outcome)
                self._wait()
        finally:
            self._record.flush()

    def _prepared(self, task: Task) -> _Item:
        """Reads the picture of a row and finds its key, in a thread of its own."""
        item, start = _Item(task), time.monotonic()
        row = task.row
        try:
            if row.fault:
                raise ValueError(row.fault)
            if row.sha256 is None or not self._is_there(self._job.key(row, row.sha256)):
                item.picture = read_picture(row)
            content = row.sha256 or hashlib.sha256(item.picture).hexdigest()
            item.key = self._job.key(row, content)
        except (ValueError, OSError) as error:
            item.outcome = self._outcome(item, REFUSED, row.fault or reason_of(row, error))
            return item
        item.seconds["read"] = time.monotonic() - start
        item.repeated = item.key in self._seen
        if not item.repeated:
            self._seen.add(item.key)
            if self._is_there(item.key):
                item.outcome = self._outcome(item, SKIPPED)
                # Of a worker that ended between the clip and its record, the mark is left.
                self._record.end(task.digest, self._record.attempts_at(task.digest))
        return item

    def _make(self, item: _Item) -> None:
        digest = item.task.digest
        attempt = self._record.attempts_at(digest)
        alone = attempt > 0  # or another clip would be blamed as well
        if alone or item.repeated:
            self._wait()
        if item.repeated and self._is_there(item.key):
            self._settle(self._outcome(item, DUPLICATE))
            return
        if attempt >= self._record.attempts:
            if ENDED not in self._terms.again:
                reason = f"{item.task.row.id}: ended its worker {attempt} times; see what the worker said."
                self._settle(self._outcome(item, ENDED, reason))
                return
            self._record.end(digest, attempt)
            attempt = 0
        attempt, start = attempt + 1, time.monotonic()
        try:
            self._record.begin(digest, attempt)
            write = self._clip(item, start)
            item.seconds["make"], item.picture = time.monotonic() - start, b""
            self._wait()
            self._written = self._writer.submit(self._write, item, write, attempt)
        except (ValueError, OSError, TimeOut) as error:
            self._record.end(digest, attempt)
            state = TIMED_OUT if isinstance(error, TimeOut) else REFUSED
            self._settle(self._outcome(item, state, reason_of(item.task.row, error)))
            return
        except (KeyboardInterrupt, StoreError):
            self._take_back_mark(item, attempt)
            raise
        if alone:
            self._wait()

    def _check_stopped(self) -> None:
        if self._terms.stopped():
            raise KeyboardInterrupt

    def _clip(self, item: _Item, start: float) -> Callable[[Path], None]:
        def check() -> None:
            self._check_stopped()
            if self._terms.timeout is not None and time.monotonic() - start > self._terms.timeout:
                raise TimeOut(f"took longer than {self._terms.timeout:g} s; see --timeout.")

        return with_memory(lambda: self._job.make(item.task.row, item.picture, check), check)

    def _write(self, item: _Item, write: Callable[[Path], None], attempt: int) -> None:
        """Writes a clip and records it, in a thread of its own."""
        start = time.monotonic()
        try:
            size = put_clip(self._record.store, item.key, self._job.extension, write)
        except StoreError:
            self._take_back_mark(item, attempt)
            raise
        except ValueError as error:
            outcome = self._outcome(item, REFUSED, reason_of(item.task.row, error))
        else:
            item.seconds["write"] = time.monotonic() - start
            outcome = replace(self._outcome(item, DONE), bytes=size)
        self._record.end(item.task.digest, attempt)
        self._settle(outcome)

    def _take_back_mark(self, item: _Item, attempt: int) -> None:
        """Deletes the mark of an attempt that ended by no fault of the row; the store may be what fails."""
        with suppress(StoreError):
            self._record.end(item.task.digest, attempt)

    def _wait(self) -> None:
        """Waits for the clip that is being written."""
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def _is_there(self, key: str) -> bool:
        return self._record.store.exists(clip_name(key, self._job.extension))

    def _outcome(self, item: _Item, state: str, reason: str = "") -> Outcome:
        return Outcome(item.task.row.id, item.task.digest, state, item.key, reason, seconds=item.seconds)

    def _settle(self, outcome: Outcome) -> None:
        if outcome.state in ASIDE:
            self._record.set_aside(outcome)
        elif self._terms.again:
            self._record.take_back(outcome)
        self._record.add(outcome)
        self._report(outcome)


def with_memory(make: Callable[[], Made], check: Callable[[], None]) -> Made:
    """What a call makes; memory that others use may be free a little later. Raises ValueError without it."""
    for attempt in range(1, TRIES + 1):
        check()
        try:
            return make()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if attempt == TRIES:
                raise ValueError(f"there is not enough memory for this ({error}).") from error
        pause(_FIRST_WAIT, attempt)
    raise AssertionError  # not reached


def put_clip(store: Store, key: str, extension: str, write: Callable[[Path], None]) -> int:
    """Writes a clip beside its place and puts it there whole; returns its bytes.

    Raises ValueError for a clip that can't be written, StoreError for a full disk and the like.
    """
    try:
        part = store.parts() / f".{key}.{uuid.uuid4().hex}{extension}"
    except OSError as error:
        raise StoreError(f"clips can't be written: {error}") from error
    try:
        write(part)
        size = part.stat().st_size
        store.put_file(clip_name(key, extension), part)
        return size
    except (ValueError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError):  # which is no fault of the clip
            raise StoreError(f"clips can't be written: {error}") from error
        raise
    finally:
        part.unlink(missing_ok=True)


def read_picture(row: Row) -> bytes:
    """Content of a row's picture; raises ValueError for too much, and for another hash than the row's."""
    if is_address(row.place):
        content = remote.read(row.place, MOST_PICTURE_BYTES)
    else:
        path = Path(row.place)
        if not path.is_file():  # nor a pipe, which would be waited for
            raise ValueError(f"{row.image}: there is no such file; check the path.")
        with path.open("rb") as file:
            content = file.read(MOST_PICTURE_BYTES + 1)
    if len(content) > MOST_PICTURE_BYTES:
        raise ValueError(f"{row.image} has over {MOST_PICTURE_BYTES:,} bytes; no picture has as many.")
    found = hashlib.sha256(content).hexdigest()
    if row.sha256 not in (None, found):
        raise ValueError(
            f"{row.image} has the SHA-256 {found}, and the row says {row.sha256}; mend one of them."
        )
    return content


def reason_of(row: Row, error: Exception) -> str:
    """The words of an error, with the row's id before them where they don't begin with it."""
    text = str(error)
    return text if text.startswith(row.id) else f"{row.id}: {text}"


def _ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """Yields items, and has the next one prepared by a thread meanwhile."""
    with ThreadPoolExecutor(1, "read") as reader:
        coming = reader.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = reader.submit(next, items, None)
            yield item
