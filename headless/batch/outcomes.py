"""What became of the rows of a batch."""

import threading
from collections import Counter
from dataclasses import dataclass, field

DONE, SKIPPED, DUPLICATE = "done", "skipped", "duplicate"
REFUSED, TIMED_OUT, ENDED = "refused", "timed out", "ended its worker"

WELL, ASIDE = (DONE, SKIPPED, DUPLICATE), (REFUSED, TIMED_OUT, ENDED)
STATES = (*WELL, *ASIDE)
MOST_REASONS, MOST_SIGNS = 10, 500


@dataclass(frozen=True)
class Outcome:
    """What became of a row: a state, and for rows set aside the reason."""

    id: str
    digest: str  # of the row and what the clips of the job depend on
    state: str
    key: str | None = None  # of its clip, if it was found out
    reason: str = ""
    bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # by stage


def printable(text: str) -> str:
    """A reason for a terminal, which signs of a manifest can't command."""
    return "".join(sign if sign.isprintable() else "�" for sign in text[:MOST_SIGNS])


class Tally:
    """Outcomes of a run of so many rows, counted; several threads may add."""

    def __init__(self, total: int = 0):
        self._lock, self._total = threading.Lock(), total
        self.states, self.seconds, self.bytes = Counter(), Counter(), 0
        self.reasons: list[tuple[str, str]] = []  # the first ones: id and reason

    def add(self, outcome: Outcome) -> None:
        """Adds an outcome."""
        with self._lock:
            self.states[outcome.state] += 1
            self.seconds.update(outcome.seconds)
            self.bytes += outcome.bytes
            if outcome.state in ASIDE and len(self.reasons) < MOST_REASONS:
                self.reasons.append((outcome.id, outcome.reason or outcome.state))

    def skip(self, state: str) -> None:
        """Counts a row with nothing to do, by its state in an earlier run, or as a DUPLICATE of this one."""
        with self._lock:
            self.states[SKIPPED if state in (DONE, SKIPPED) else state] += 1

    @property
    def rows(self) -> int:
        """Rows that are done with."""
        return sum(self.states.values())

    @property
    def waiting(self) -> int:
        """Rows that are to come, of about as many as there are."""
        return max(self._total - self.rows, 0)

    @property
    def aside(self) -> int:
        """Rows that have no clip."""
        return sum(self.states[state] for state in ASIDE)
