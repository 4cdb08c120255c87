"""Answers of the service: states of clips and refusals as JSON, progress as it is made, clips from afar."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from ..batch.outcomes import DONE
from ..batch.stores import Store, StoreError
from .desk import CANCELLED, FAILED
from .limits import Refusal

OVER = (DONE, FAILED, CANCELLED)
EVERY_SECONDS, ALIVE_SECONDS = 0.1, 10.0
"""How often a state is looked at, and how often a stream without news says that it is there."""

EVENT_STREAM = "text/event-stream"
NOT_KEPT = {"cache-control": "no-store"}


def refused(refusal: Refusal, method: str = "GET") -> JSONResponse:
    """The answer of a refusal; a body that may be unread, of a POST, is not waited for."""
    headers = dict(NOT_KEPT)
    if method == "POST":
        headers["connection"] = "close"
    if refusal.retry_after is not None:
        headers["retry-after"] = str(refusal.retry_after)
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": str(refusal)}, refusal.status, headers)


def described(key: str, state: dict) -> dict:
    """A clip's state with its addresses."""
    address = f"/v1/clips/{key}"
    content = {"id": key, **state, "events": f"{address}/events"}
    return {**content, "clip": f"{address}/clip.mp4"} if state["state"] == DONE else content


class Events(StreamingResponse):
    """Progress of a clip, an event for each change, until the clip is over or the service ends.

    Who reads slowly misses states, and nothing piles up.
    """

    def __init__(
        self, key: str, look: Callable[[], dict], ends: Callable[[], bool], leave: Callable[[], None] = bool
    ):
        """look: gives the state. ends: whether the service does. leave: called at the end of the stream."""
        super().__init__(_changes(key, look, ends), media_type=EVENT_STREAM, headers=NOT_KEPT)
        self.headers["x-accel-buffering"] = "no"  # or nginx would collect events
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


class FetchedFile(FileResponse):
    """A file that is deleted after it is sent, or after a Range that it doesn't have."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the file."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


def fetched(store: Store, name: str) -> Path:
    """An object of a store in a file of this machine; raises StoreError."""
    path = store.parts() / f"{uuid.uuid4().hex}{Path(name).suffix}"
    content = store.read(name)
    try:
        path.write_bytes(content)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StoreError(f"a clip can't be fetched: {error}") from error
    return path


async def _changes(key: str, look: Callable[[], dict], ends: Callable[[], bool]) -> AsyncIterator[str]:
    last, since = None, time.monotonic()
    while True:
        state = look()
        if state != last:
            yield f"event: {state['state']}\ndata: {json.dumps(described(key, state))}\n\n"
            last, since = state, time.monotonic()
        elif time.monotonic() - since > ALIVE_SECONDS:
            yield ": still there\n\n"
            since = time.monotonic()
        if state["state"] in OVER:
            return
        if ends():
            yield "event: ending\ndata: {}\n\n"
            return
        await asyncio.sleep(EVERY_SECONDS)
