"""The record of what is done: in the store, so that any process can go on where another one ended.

clips/ab/cd/KEY.mp4          the clips
done/SHARD/WORKER-N.jsonl    a line a row that is done with, each file whole
attempts/ROW.N               a mark of the Nth attempt at a row, deleted after it
aside/ROW.json               rows without a clip, and why
job.json                     what the clips depend on
"""

import json
import secrets
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict

from .digests import Digests, is_digest
from .outcomes import ASIDE, STATES, WELL, Outcome
from .stores import Store

MOST_LINES, FIRST_WAIT, LONGEST_WAIT = 10_000, 15.0, 600.0
"""A file of the record is written after so many lines or seconds, which double, or files were many."""

JOB = "job.json"


def clip_name(key: str, extension: str) -> str:
    """The name of a clip in the store, in one of 65,536 folders."""
    return f"clips/{key[:2]}/{key[2:4]}/{key}{extension}"


def shard_name(shard: tuple[int, int]) -> str:
    """The name of a shard's folder."""
    return f"{shard[0]:05d}-of-{shard[1]:05d}"


class Record:
    """A worker's own part of the record: it adds lines, marks attempts and sets rows aside."""

    def __init__(self, store: Store, shard: tuple[int, int], attempts: int):
        self.store, self.attempts = store, attempts
        self._folder = f"done/{shard_name(shard)}"
        self._worker, self._number = secrets.token_hex(6), 0
        self._lines: list[str] = []
        self._lock, self._wait, self._since = threading.Lock(), FIRST_WAIT, time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Adds the line of an outcome; one that gets lost is found again by its clip."""
        with self._lock:
            content = {name: value for name, value in asdict(outcome).items() if value and name != "seconds"}
            self._lines.append(json.dumps(content) + "\n")
            elapsed = time.monotonic() - self._since
            due = len(self._lines) >= MOST_LINES or elapsed >= self._wait
        if due:
            self.flush()

    def flush(self) -> None:
        """Writes the lines so far, as one whole file."""
        with self._lock:
            if not self._lines:
                return
            name = f"{self._folder}/{self._worker}-{self._number}.jsonl"
            self.store.put(name, "".join(self._lines).encode())
            self._number += 1
            self._lines.clear()
            self._wait, self._since = min(2 * self._wait, LONGEST_WAIT), time.monotonic()

    def attempts_at(self, digest: str) -> int:
        """How many attempts at a row ended with their process.

        A clip's own would count those at another row of its picture, which a worker is at just now.
        """
        number = 0
        while number < self.attempts and self.store.exists(_mark(digest, number + 1)):
            number += 1
        return number

    def begin(self, digest: str, attempt: int) -> None:
        """Marks an attempt."""
        self.store.put(_mark(digest, attempt), b"")

    def end(self, digest: str, attempt: int) -> None:
        """Deletes the marks up to an attempt, the last one first, so that no gap is left."""
        for number in range(attempt, 0, -1):
            self.store.delete(_mark(digest, number))

    def set_aside(self, outcome: Outcome) -> None:
        """Says of a row without a clip why, in a file of its own."""
        content = {"id": outcome.id, "state": outcome.state, "reason": outcome.reason}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        self.store.put(_aside(outcome), text.encode("utf-8", "replace"))

    def take_back(self, outcome: Outcome) -> None:
        """Deletes the file of a row that was aside."""
        self.store.delete(_aside(outcome))


def _mark(digest: str, number: int) -> str:
    return f"attempts/{digest}.{number}"


def _aside(outcome: Outcome) -> str:
    return f"aside/{outcome.digest}.json"


class Past:
    """Rows that earlier runs of a shard were done with."""

    def __init__(self, store: Store, shard: tuple[int, int], again: Collection[str] = ()):
        """again: states of rows to try once more."""
        self._done, self._aside = Digests(), {state: Digests() for state in ASIDE}
        for content in lines(store, f"done/{shard_name(shard)}"):
            digest, state = content["digest"], content["state"]
            if state in again:
                continue
            found = self._done if state in WELL else self._aside[state]
            if digest not in found:
                found.add(digest)

    def state_of(self, digest: str) -> str | None:
        """The state of a row by its digest; None of a row to do."""
        if digest in self._done:
            return WELL[0]
        return next((state for state, digests in self._aside.items() if digest in digests), None)


def lines(store: Store, folder: str = "done") -> Iterator[dict]:
    """Yields the lines of the record, of a shard or of all; a file that is no record is passed over."""
    for name in store.names(folder):
        if not name.endswith(".jsonl"):
            continue
        for line in store.read(name).splitlines():
            try:
                content = json.loads(line)
                digest, state = content["digest"], content["state"]
            except (ValueError, TypeError, KeyError):
                continue
            if is_digest(digest) and state in STATES:
                yield content
