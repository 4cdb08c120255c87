"""The desk of the service: clips that wait, are under way, or were made; what waits is in the store too.

queue/KEY.picture    the picture of a clip that waits or is under way
queue/KEY.json       its settings, and who asked; a restart goes on with it
clips/, aside/, attempts/, done/    as a batch has them
"""

import contextlib
import json
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from ..batch.outcomes import ASIDE, DONE, REFUSED, SKIPPED, Outcome, Tally
from ..batch.record import Record, clip_name
from ..batch.rows import Row
from ..batch.stores import Store, StoreError
from ..batch.work import Job
from .limits import Limits, Refusal

QUEUED, RUNNING, CANCELLED, FAILED = "queued", "running", "cancelled", "failed"
MOST_RECENT = 1000
"""Clips without one that are remembered beside what the store has, such as cancelled ones."""

QUEUE, ATTEMPTS = "queue", 3


class CancelledError(Exception):
    """A clip that nobody wants any more."""


class ClosingError(Exception):
    """A service that ends; its clips go on with the next one."""


@dataclass(eq=False)
class Ticket:
    """A clip that waits or is under way; the desk's lock guards it."""

    key: str
    row: Row
    sha256: str  # of the picture
    clients: set[str]
    stays: bool  # when nobody watches
    watchers: int = 0
    state: str = QUEUED
    stage: tuple[str, int, int] = ("starting", 0, 1)
    reason: str = ""
    picture: bytes = b""  # where it isn't in the store
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state not in (QUEUED, RUNNING)


class Counts(Tally):
    """Outcomes of a service, counted, and its seconds for a clip of late."""

    def __init__(self):
        super().__init__()
        self.cancelled, self.lately = 0, deque(maxlen=16)


class Desk:
    """Takes orders for clips, gives them to workers, and knows the state of each; any thread may call."""

    def __init__(
        self, store: Store, extension: str, limits: Limits, workers: int = 1, stores_orders: bool = True
    ):
        """stores_orders: whether what waits is in the store; else it ends with the service."""
        self._stores_orders = stores_orders
        self.store, self.extension, self.limits, self.workers = store, extension, limits, workers
        self.record = Record(store, (0, 1), ATTEMPTS)
        self.counts = Counts()
        self.closing = threading.Event()
        self._changed = threading.Condition()
        self._tickets: dict[str, Ticket] = {}  # waiting or under way
        self._waiting: deque[Ticket] = deque()
        self._recent: OrderedDict[str, dict] = OrderedDict()

    def state_of(self, key: str) -> dict | None:
        """State of a clip, its stage and reason; None of one that nobody asked for."""
        with self._changed:
            ticket = self._tickets.get(key)
            if ticket is not None:
                return self.view(ticket)
        if self.has_clip(key):
            return {"state": DONE}
        if (recent := self._recent.get(key)) is not None:
            return recent
        with contextlib.suppress(FileNotFoundError, ValueError):
            aside = json.loads(self.store.read(f"aside/{key}.json"))
            return {"state": FAILED, "reason": str(aside["reason"])}
        return {"state": QUEUED} if self.store.exists(f"{QUEUE}/{key}.json") else None

    def view(self, ticket: Ticket) -> dict:
        """State of a ticket in plain values."""
        with self._changed:
            if ticket.state == RUNNING:
                stage, step, of = ticket.stage
                return {"state": RUNNING, "stage": stage, "step": step, "of": of}
            if ticket.state == QUEUED and ticket in self._waiting:
                return {"state": QUEUED, "position": 1 + self._waiting.index(ticket)}
            return {"state": ticket.state, **({"reason": ticket.reason} if ticket.reason else {})}

    def ticket(self, key: str) -> Ticket | None:
        """The ticket of a clip that waits or is under way."""
        with self._changed:
            return self._tickets.get(key)

    def knows(self, key: str) -> bool:
        """Whether a clip is there, or its picture was accepted already."""
        return self.ticket(key) is not None or self.has_clip(key)

    def has_clip(self, key: str) -> bool:
        """Whether a clip is there."""
        return self.store.exists(clip_name(key, self.extension))

    def ask(self, row: Row, key: str, sha256: str, picture: bytes, client: str, stays: bool) -> Ticket | None:
        """Takes an order, or joins one for the clip; None where it is there. Raises Refusal, StoreError.

        stays: whether the clip is to be made also where nobody watches it; else `leave` is to be called.
        """
        if self.has_clip(key):
            return None
        with self._changed:
            ticket = self._tickets.get(key)
            if ticket is None or ticket.cancelled.is_set():
                self._check_room(client, ticket)
                ticket = Ticket(key, row, sha256, set(), False)
                self._tickets[key] = ticket
                self._recent.pop(key, None)
                mine = True
            else:
                mine = False
            ticket.clients.add(client)
            ticket.stays |= stays
            ticket.watchers += not stays
        if mine:
            self._store(ticket, picture)
        return ticket

    def _check_room(self, client: str, cancelled: Ticket | None) -> None:
        if self.closing.is_set():
            raise Refusal(503, "the service is ending; try again soon.", 5)
        if cancelled is not None:
            raise Refusal(503, "the clip is being cancelled; try again soon.", 1)
        unfinished = sum(client in ticket.clients for ticket in self._tickets.values())
        if client and unfinished >= self.limits.clips_of_client:
            raise Refusal(429, f"you have {unfinished} clips that are not made yet; wait.", self.seconds_left)
        if self.queued >= self.limits.queue:
            raise Refusal(
                503, f"the queue is full, with {self.queued} clips; try again later.", self.seconds_left
            )

    def _store(self, ticket: Ticket, picture: bytes) -> None:
        """Puts an order into the store, then into the queue; what fails on the way is no order."""
        try:
            self.record.take_back(Outcome("", ticket.key, REFUSED))
            if self._stores_orders:
                self._put_order(ticket, picture)
            else:
                ticket.picture = picture
        except BaseException:
            with self._changed:
                self._finish(ticket, FAILED, "the store failed; try again later.")
            raise
        with self._changed:
            if not ticket.cancelled.is_set():
                self._waiting.append(ticket)
                self._changed.notify()
                return
        self.drop(ticket)

    def _put_order(self, ticket: Ticket, picture: bytes) -> None:
        self.store.put(f"{QUEUE}/{ticket.key}.picture", picture)
        content = {
            "key": ticket.key,
            "sha256": ticket.sha256,
            "image": ticket.row.image,
            "settings": ticket.row.settings,
            "clients": sorted(ticket.clients),
            "time": time.time(),
        }
        self.store.put(f"{QUEUE}/{ticket.key}.json", json.dumps(content).encode())

    def picture_of(self, ticket: Ticket) -> bytes:
        """The picture of a clip; raises FileNotFoundError where the store lost it."""
        return ticket.picture or self.store.read(f"{QUEUE}/{ticket.key}.picture")

    def go_on(self, maker: Job) -> int:
        """Takes up the orders of an earlier service, whose keys the maker must find alike; their number."""
        names = self.store.names(QUEUE)
        found = sorted(filter(None, map(self._stored, names)), key=lambda content: content["time"])
        orders = {content["key"] for content in found}
        for name in names:
            if name.rpartition("/")[2].partition(".")[0] not in orders:
                self.store.delete(name)
        for content in found:
            self._take_up(content, maker)
        return len(self._waiting)

    def _stored(self, name: str) -> dict | None:
        """The order in a file; None for what is none."""
        if not name.endswith(".json"):
            return None
        try:
            content = json.loads(self.store.read(name))
            Row("", settings=dict(content["settings"]), image=str(content["image"]))
            whole = name == f"{QUEUE}/{content['key']}.json" and float(content["time"])
            return content if whole and isinstance(content["clients"], list) else None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def _take_up(self, content: dict, maker: Job) -> None:
        key, row = content["key"], Row("", content["image"], settings=content["settings"])
        ticket = Ticket(key, row, str(content["sha256"]), set(content["clients"]), True)
        if self.has_clip(key):
            self._forget(key)
            return
        try:
            if maker.key(row, ticket.sha256) != key:
                raise ValueError("the service began anew with other weights or options; ask again.")
        except ValueError as error:
            self._tickets[key] = ticket
            self.settle(ticket, Outcome(row.image, key, REFUSED, key, str(error)))
            return
        self._tickets[key] = ticket
        self._waiting.append(ticket)

    def next(self) -> Ticket | None:
        """The next clip to make, which is waited for; None at the end."""
        with self._changed:
            while not self._waiting and not self.closing.is_set():
                self._changed.wait()
            if self.closing.is_set():
                return None
            ticket = self._waiting.popleft()
            ticket.state = RUNNING
            return ticket

    def put_back(self, ticket: Ticket) -> None:
        """Takes back a clip that was not made since the service ends; the store has its order."""
        with self._changed:
            ticket.state = QUEUED

    def settle(self, ticket: Ticket, outcome: Outcome) -> None:
        """Records what became of a clip; raises StoreError where it can't be."""
        try:
            if outcome.state in ASIDE:
                self.record.set_aside(outcome)
            self.record.add(outcome)
            self._forget(ticket.key)
        finally:
            self.counts.add(outcome)
            with self._changed:
                state = DONE if outcome.state in (DONE, SKIPPED) else FAILED
                self._finish(ticket, state, outcome.reason)

    def drop(self, ticket: Ticket) -> None:
        """Ends a clip that was cancelled."""
        try:
            self._forget(ticket.key)
        finally:
            with self._changed:
                self._finish(ticket, CANCELLED)

    def fail(self, ticket: Ticket, reason: str) -> None:
        """Ends a clip by no fault of its own, in no record, unless it is over and only its record failed."""
        with contextlib.suppress(StoreError):
            self._forget(ticket.key)
        with self._changed:
            if not ticket.over:
                self._finish(ticket, FAILED, reason)

    def cancel(self, key: str, client: str) -> dict | None:
        """Cancels a clip for a client, for good if no other wants it; its state, None of an unknown one."""
        with self._changed:
            ticket = self._tickets.get(key)
            if ticket is not None and client in ticket.clients:
                ticket.clients.discard(client)
                if not ticket.clients:
                    self._cancel(ticket)
                    return {"state": CANCELLED}
                return self.view(ticket)
        return self.state_of(key) if ticket is None else None

    def leave(self, ticket: Ticket) -> None:
        """Ends a watch; a clip that has no other, and was not asked to stay, is cancelled."""
        with self._changed:
            ticket.watchers -= 1
            if not ticket.watchers and not ticket.stays and not ticket.over and not self.closing.is_set():
                self._cancel(ticket)

    def _cancel(self, ticket: Ticket) -> None:
        ticket.cancelled.set()
        ticket.clients.clear()  # who may ask for another at once
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            threading.Thread(target=self._drop_quietly, args=(ticket,), daemon=True).start()

    def _drop_quietly(self, ticket: Ticket) -> None:
        """Drops a clip in a thread of its own, since a store may be slow."""
        with contextlib.suppress(StoreError):
            self.drop(ticket)

    def _finish(self, ticket: Ticket, state: str, reason: str = "") -> None:
        ticket.state, ticket.reason = state, reason
        if self._tickets.get(ticket.key) is ticket:
            del self._tickets[ticket.key]
        self.counts.cancelled += state == CANCELLED
        if state != DONE:
            self._recent[ticket.key] = self.view(ticket)
            if len(self._recent) > MOST_RECENT:
                self._recent.popitem(last=False)
        self._changed.notify_all()

    def _forget(self, key: str) -> None:
        if not self._stores_orders:
            return
        self.store.delete(f"{QUEUE}/{key}.json")
        self.store.delete(f"{QUEUE}/{key}.picture")

    @property
    def queued(self) -> int:
        """Number of clips that wait."""
        with self._changed:
            return sum(ticket.state == QUEUED for ticket in self._tickets.values())

    @property
    def running(self) -> int:
        """Number of clips that are under way."""
        return len(self.tickets_under_way())

    def tickets_under_way(self) -> list[Ticket]:
        """Clips that workers make."""
        with self._changed:
            return [ticket for ticket in self._tickets.values() if ticket.state == RUNNING]

    @property
    def seconds_left(self) -> int:
        """Seconds until about one clip less waits."""
        lately = list(self.counts.lately)  # which workers add to
        return max(1, min(600, round(sum(lately) / len(lately) / self.workers))) if lately else 10

    def close(self) -> None:
        """Ends the service: nothing is taken any more, and what is under way is left to the next one."""
        self.closing.set()
        with self._changed:
            self._changed.notify_all()
