"""The service as an ASGI app, the same under uvicorn and in Ray Serve."""

import hashlib
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import h11
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ..batch.digests import is_digest
from ..batch.outcomes import DONE
from ..batch.progress import metrics
from ..batch.record import clip_name
from ..batch.stores import FolderStore, StoreError
from .answers import EVENT_STREAM, NOT_KEPT, Events, FetchedFile, described, fetched, refused
from .asked import check_picture, row_of_request
from .desk import RUNNING, Ticket
from .guard import Guard
from .hands import Hands, Maker
from .limits import Limits, Refusal
from .tokens import Tokens

logger = logging.getLogger(__name__)

PICTURE, SETTINGS = "picture", "settings"
MOST_PARTS = 4
PATIENCE = 30.0  # seconds for others' requests and pictures


class Service:
    """Answers of the service to requests."""

    def __init__(self, hands: Hands, maker: Maker, about: dict, streams_only: bool = False):
        """maker: finds keys. streams_only: whether a request for a clip is answered by its progress alone."""
        self.hands, self.desk, self._maker, self._about = hands, hands.desk, maker, about
        self._streams_only, self._uploads = streams_only, anyio.Semaphore(hands.desk.limits.uploads)
        self._one_picture = threading.Lock()  # is decoded at a time, since one may take much memory

    async def ask(self, request: Request) -> Response:
        """POST /v1/clips: takes an order for a clip."""
        limits = self.desk.limits
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
            raise Refusal(415, "a request is multipart/form-data with a picture, and settings in JSON.")
        streams = self._streams_only or EVENT_STREAM in request.headers.get("accept", "")
        try:
            with anyio.fail_after(PATIENCE):
                await self._uploads.acquire()  # before its body is read, so who waits takes no memory
        except TimeoutError:
            raise Refusal(503, "too many requests are coming in; try again later.", 5) from None
        try:
            name, picture, settings = await _parts(request, limits)
            order = name, picture, settings, request.scope["client_name"], not streams
            key, ticket = await run_in_threadpool(self._order, *order)
        except ValueError as error:
            raise Refusal(400, str(error)) from error
        finally:
            self._uploads.release()
        if not streams:
            state = {"state": DONE} if ticket is None else self.desk.view(ticket)
            return JSONResponse(described(key, state), 202, {**NOT_KEPT, "location": f"/v1/clips/{key}"})
        if ticket is None:
            return Events(key, lambda: {"state": DONE}, bool)
        look, leave = (lambda: self.desk.view(ticket)), (lambda: self.desk.leave(ticket))
        return Events(key, look, self.desk.closing.is_set, leave)

    def _order(
        self, name: str, picture: bytes, settings: bytes, client: str, stays: bool
    ) -> tuple[str, Ticket | None]:
        """The key of a clip, and its ticket where it isn't made yet; raises Refusal, ValueError."""
        limits = self.desk.limits
        row = row_of_request(settings, name, limits)
        digest = hashlib.sha256(picture).hexdigest()
        key = self._maker.key(row, digest)
        work = self._maker.work(row)
        if work > limits.work:
            raise ValueError(
                f"frames × pixels × steps are {work:.3g} times the checkpoint's own; at most {limits.work:g} "
                "times are accepted."
            )
        if not self.desk.knows(key):
            if not self._one_picture.acquire(timeout=PATIENCE):
                raise Refusal(503, "too many pictures are coming in; try again later.", 10)
            try:
                check_picture(picture, name, limits)
            finally:
                self._one_picture.release()
        return key, self.desk.ask(row, key, digest, picture, client, stays)

    async def state(self, request: Request) -> Response:
        """GET /v1/clips/KEY: the state of a clip."""
        key = _key(request)
        return JSONResponse(described(key, await self._state_of(key)), headers=NOT_KEPT)

    async def events(self, request: Request) -> Response:
        """GET /v1/clips/KEY/events: the progress of a clip."""
        key = _key(request)
        ticket, state = self.desk.ticket(key), None
        if ticket is None:
            state = await self._state_of(key)
        look = (lambda: state) if ticket is None else (lambda: self.desk.view(ticket))
        return Events(key, look, self.desk.closing.is_set if ticket is not None else lambda: True)

    async def clip(self, request: Request) -> Response:
        """GET /v1/clips/KEY/clip.mp4: the clip, or parts of it."""
        key = _key(request)
        state = await self._state_of(key)
        if state["state"] != DONE:
            raise Refusal(409, f"the clip is {state['state']}; see /v1/clips/{key}.")
        tag = f'"{key}"'
        headers = {"etag": tag, "cache-control": "private, max-age=31536000, immutable"}
        if tag in re.split(r"\s*,\s*", request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        kind, path = await run_in_threadpool(self._file_of, key)
        return kind(path, headers=headers, media_type="video/mp4")

    def _file_of(self, key: str) -> tuple[type[FileResponse], Path]:
        """How a clip is sent, and its file; from an address it is fetched first."""
        store, name = self.desk.store, clip_name(key, self.desk.extension)
        if isinstance(store, FolderStore):
            return FileResponse, store.root / name
        return FetchedFile, fetched(store, name)

    async def cancel(self, request: Request) -> Response:
        """DELETE /v1/clips/KEY: cancels a clip that isn't made yet."""
        key = _key(request)
        state = await run_in_threadpool(self.desk.cancel, key, request.scope["client_name"])
        if state is None:
            raise _unknown()
        if state["state"] == DONE:
            raise Refusal(409, "the clip is made; there is nothing to cancel.")
        return JSONResponse(described(key, state), 202, NOT_KEPT)

    async def _state_of(self, key: str) -> dict:
        state = await run_in_threadpool(self.desk.state_of, key)
        if state is None:
            raise _unknown()
        return state

    async def healthz(self, _: Request) -> Response:
        """GET /healthz: whether the service can make clips."""
        return _said("ok" if self.hands.well else self.hands.complaint or "ill", self.hands.well)

    async def readyz(self, _: Request) -> Response:
        """GET /readyz: whether the weights are loaded."""
        fit = self.hands.loaded and self.hands.well and not self.desk.closing.is_set()
        return _said("ready" if fit else "not ready", fit)

    async def model(self, _: Request) -> Response:
        """GET /v1/model: the checkpoint, what a clip is without settings, and the limits."""
        return JSONResponse(self._about, headers=NOT_KEPT)

    async def metrics(self, _: Request) -> Response:
        """GET /metrics: numbers in Prometheus' text format."""
        desk = self.desk
        numbers = {"queued": desk.queued, RUNNING: desk.running, "cancelled_total": desk.counts.cancelled}
        lines = [
            f"# TYPE stillmotion_clips_{name} {'counter' if name.endswith('total') else 'gauge'}\n"
            f"stillmotion_clips_{name} {number}\n"
            for name, number in numbers.items()
        ]
        return PlainTextResponse(metrics(desk.counts) + "".join(lines), headers=NOT_KEPT)


def make_app(open_service: Callable[[], Service], tokens: Tokens, limits: Limits) -> Starlette:
    """The app of a service, which is opened when the server starts, and closed when it ends."""
    services: list[Service] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        services.append(await run_in_threadpool(open_service))
        services[0].hands.start()
        yield
        await run_in_threadpool(services.pop().hands.stop)

    def route(path: str, name: str, method: str = "GET") -> Route:
        async def answer(request: Request) -> Response:
            return await getattr(services[0], name)(request)

        return Route(path, answer, methods=[method], name=name)

    routes = [
        route("/v1/clips", "ask", "POST"),
        route("/v1/clips/{key}", "state"),
        route("/v1/clips/{key}", "cancel", "DELETE"),
        route("/v1/clips/{key}/events", "events"),
        route("/v1/clips/{key}/clip.mp4", "clip"),
        *(route(f"/{name}", name) for name in ("healthz", "readyz", "metrics")),
        route("/v1/model", "model"),
    ]
    guard = Middleware(Guard, tokens=tokens, limits=limits)
    answers = {
        ClientDisconnect: _of_nobody,
        Refusal: _of_refusal,
        StoreError: _of_store,
        HTTPException: _of_http,
    }
    return Starlette(
        routes=routes,
        middleware=[guard],
        lifespan=lifespan,
        exception_handlers={**answers, Exception: _of_fault},
    )


def _key(request: Request) -> str:
    key = request.path_params["key"]
    if not is_digest(key):
        raise _unknown()
    return key


def _unknown() -> Refusal:
    return Refusal(404, "there is no such clip; ask for it with POST /v1/clips.")


async def _parts(request: Request, limits: Limits) -> tuple[str, bytes, bytes]:
    """Name and content of the picture, and the settings; raises Refusal, ValueError."""
    parts = {"max_files": MOST_PARTS, "max_fields": MOST_PARTS, "max_part_size": limits.settings}
    try:
        with anyio.fail_after(limits.upload_seconds):
            async with request.form(**parts) as form:
                return await _read(form, limits.settings)
    except TimeoutError:
        raise Refusal(408, f"the request took longer than {limits.upload_seconds:g} s.") from None


async def _read(form: FormData, most: int) -> tuple[str, bytes, bytes]:
    """Name and content of the picture, and the settings; raises ValueError for other parts."""
    names = [name for name, _ in form.multi_items()]
    for name in names:
        if name not in (PICTURE, SETTINGS) or names.count(name) > 1:
            raise ValueError(f"a request has one {PICTURE} and one {SETTINGS}, and no other part.")
    picture, settings = form.get(PICTURE), form.get(SETTINGS, "")
    if not isinstance(picture, UploadFile):
        raise ValueError(f"the {PICTURE} is missing; send its file, with a file name.")
    content = await picture.read()
    if isinstance(settings, UploadFile):
        settings = await settings.read(most + 1)
    else:
        settings = settings.encode("utf-8", "replace")
    return "the picture", content, settings


def _said(text: str, well: bool) -> Response:
    return PlainTextResponse(f"{text}\n", 200 if well else 503, NOT_KEPT)


async def _of_nobody(_: Request, __: ClientDisconnect) -> Response:
    return Response(status_code=400)  # which nobody reads


async def _of_refusal(request: Request, refusal: Refusal) -> Response:
    return refused(refusal, request.method)


async def _of_store(request: Request, error: StoreError) -> Response:
    logger.error("%s", error)
    return refused(Refusal(503, "the store failed; try again later.", 10), request.method)


async def _of_http(request: Request, error: HTTPException) -> Response:
    answer = refused(Refusal(error.status_code, str(error.detail)), request.method)
    answer.headers.update(error.headers or {})
    return answer


async def _of_fault(request: Request, error: Exception) -> Response:
    if not isinstance(error, h11.LocalProtocolError):  # of a client that had its 400 while it was answered
        logger.error("a request failed by no fault of its own", exc_info=error)
    return refused(Refusal(500, "the service failed; its log says why."), request.method)
