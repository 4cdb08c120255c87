"""The server of the service: uvicorn, with patience for slow clients that ends."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS, READER_SECONDS = 20.0, 60.0
"""How long a head, or the rest of an answered request, may take; how long an answer waits for its reader."""

MOST_CONNECTIONS, BACKLOG = 512, 256
GRACE_SECONDS = 20


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that ends connections whose client sends no whole request, or takes none of its answer."""

    _head: asyncio.TimerHandle | None = None
    _reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begins to wait for a request's head."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Waits on where the head isn't whole yet, or a body comes whose request has its answer."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE and self.conn.our_state is not h11.DONE:
            self._head = _over(self._head)
        elif self._head is None:
            self._wait_for_head()

    def send_400_response(self, msg: str) -> None:
        """Answers a broken request; one whose answer has begun can get no other."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()

    def pause_writing(self) -> None:
        """Begins to wait for the reader."""
        super().pause_writing()
        self._reader = self.loop.call_later(READER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Ends the wait: the reader took something."""
        self._reader = _over(self._reader)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all waits."""
        self._head, self._reader = _over(self._head), _over(self._reader)
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._head = self.loop.call_later(HEADER_SECONDS, self.transport.abort)


def _over(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


class Server(uvicorn.Server):
    """A server that tells its app of a signal at once, so that streams end."""

    def __init__(self, config: uvicorn.Config, closing: Callable[[], None]):
        super().__init__(config)
        self._closing = closing

    def handle_exit(self, sig: int, frame: object) -> None:
        """Ends the server at SIGTERM and Ctrl-C."""
        self._closing()
        super().handle_exit(sig, frame)


def bound(host: str, port: int) -> socket.socket:
    """A socket at a host's port, 0 for any; raises ValueError where it can't be."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        kind, *_, address = found[0]
        listening = socket.create_server(address[:2], family=kind, backlog=BACKLOG)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"--host {host} --port {port} can't be used ({error}); name others.") from error
    return listening


def server_of(app: ASGIApp, closing: Callable[[], None]) -> Server:
    """The server of an app; closing: called at once when a signal ends it."""
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="critical",  # its own words of clients that go; the app logs what matters
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return Server(config, closing)


def run(app: ASGIApp, listening: socket.socket, closing: Callable[[], None]) -> None:
    """Serves an app until SIGTERM or Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal anew at its end
        server_of(app, closing).run(sockets=[listening])
