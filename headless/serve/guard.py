"""What stands before the app: who asks, from where, and how large the request is."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .answers import refused
from .limits import Limits, Refusal
from .tokens import Tokens, is_loopback, name_of

OPEN = ("/healthz", "/readyz")
"""What needs no token."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Passes on to an app what it may answer.

    A page of another site can't ask in its visitor's name: its Origin is refused, and where there are no
    tokens, so is a Host that isn't this machine, as of a name that was made to lead here.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, limits: Limits):
        self._app, self._tokens, self._limits = app, tokens, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check(headers)
            scope["client_name"] = self._client(headers, scope["path"])
        except Refusal as refusal:
            await refused(refusal, scope["method"])(scope, receive, send_with_headers)
            return
        await self._app(scope, _bounded(receive, self._limits.body), send_with_headers)

    def _check(self, headers: Headers) -> None:
        lengths, hosts = headers.getlist("content-length"), headers.getlist("host")
        if len(lengths) > 1 or (lengths and "transfer-encoding" in headers):
            raise Refusal(400, "the request has two lengths; give one.")
        host = name_of(hosts[0]) if len(hosts) == 1 else None
        if host is None or not (self._tokens or is_loopback(host)):
            raise Refusal(403, "the Host is not this machine; ask at localhost or 127.0.0.1.")
        origin = headers.get("origin")
        foreign = origin is not None and _host_of(origin) != hosts[0].lower()
        if foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise Refusal(403, "a page of another site may not ask.")
        if lengths and (not lengths[0].isdecimal() or int(lengths[0][:20]) > self._limits.body):
            raise _too_large(self._limits.body)

    def _client(self, headers: Headers, path: str) -> str:
        """Name of the client, empty where there are no tokens; raises Refusal for one that may not ask."""
        if not self._tokens or path in OPEN:
            return ""
        client = self._tokens.client_of(headers.get("authorization"))
        if client is None:
            raise Refusal(401, "the token is missing or wrong; give it as Authorization: Bearer TOKEN.")
        return client


def _host_of(origin: str) -> str | None:
    """Host and port of an Origin; None of one that has none in any reading, as http://[."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _bounded(receive: Receive, most: int) -> Receive:
    """Receives a body of at most so many bytes, whatever length it says."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise HTTPException(413, str(_too_large(most)))
        return message

    return receive_bounded


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the request is larger than {most:,} bytes.")
