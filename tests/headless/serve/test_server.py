"""The server at a socket: odd requests, clients that wait, go or read nothing, and its end."""

import contextlib
import json
import os
import socket
import threading

import httpx2
import psutil
import pytest

from stillmotion.headless.serve import server
from stillmotion.headless.serve.limits import Limits
from support.serving import HOST, StubMaker, app_of, clip_of, events_of, parts, picture, served, until


@pytest.fixture
def maker():
    return StubMaker()


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """A service for requests that change nothing in it."""
    app, desk = app_of(tmp_path_factory.mktemp("store"), StubMaker())
    with served(app, desk) as number:
        yield number


@pytest.fixture
def open_port(tmp_path, maker):
    """Serves a new service until the test ends; its port and its desk."""
    blocks = []

    def opened(**limits):
        app, desk = app_of(tmp_path, maker, Limits(**limits))
        blocks.append(served(app, desk))
        return blocks[-1].__enter__(), desk

    yield opened
    maker.gate.set()
    for block in blocks:
        block.__exit__(None, None, None)


def client_of(port) -> httpx2.Client:
    return httpx2.Client(base_url=f"http://{HOST}:{port}", timeout=20)


def connected(port) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=20)


def ended(connection: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            answer += piece
    return answer


def answer_to(port, request: bytes) -> bytes:
    """All that comes back on a connection, which the server has to end."""
    with connected(port) as connection:
        connection.sendall(request)
        return ended(connection)


def raw(port, *lines: str, body: bytes = b"", method: str = "POST") -> bytes:
    head = [f"{method} /v1/clips HTTP/1.1", f"Host: {HOST}:{port}", *lines, "", ""]
    return answer_to(port, "\r\n".join(head).encode() + body)


SMUGGLED = b"GET /v1/model HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 0", f"Content-Length: {len(SMUGGLED)}"),
        (f"Content-Length: {len(SMUGGLED)}", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 3"),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
        ("Content-Length: +5",),
        ("Content-Length: 5, 6",),
        ("Content-Length: 5", " folded: yes"),
        ("X: a\rb",),
        ("X: a\0b",),
        ("Host: 127.0.0.1",),
    ],
    ids=str,
)
def test_requests_of_two_readings_are_refused_and_nothing_behind_them_is_read(lines, port, caplog):
    answer = raw(port, *lines, body=SMUGGLED)
    status = answer.split(b" ", 2)[1]
    assert status == b"400" and answer.count(b"HTTP/1.1") == 1
    assert not caplog.records  # or who sends them fills the log


def test_two_equal_lengths_are_one_and_the_rest_is_not_read_as_a_request(port):
    body = b"--x--\r\n"
    lines = ("Content-Type: multipart/form-data; boundary=x", *[f"Content-Length: {len(body)}"] * 2)
    assert raw(port, *lines, "Connection: close", body=body).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/clips/../../../../etc/passwd",
        "/v1/clips/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/v1/clips/..%2f..%2f..%2fetc%2fpasswd/clip.mp4",
        "/v1/clips//etc/passwd/clip.mp4",
        "/v1/clips/%00/clip.mp4",
        f"/v1/clips/{'0' * 63}%00/clip.mp4",
        f"/v1/clips/{'0' * 64}%0a/clip.mp4",
        f"/v1/clips/{'0' * 62}../clip.mp4",
        f"/v1/clips/{'٣' * 64}/clip.mp4".encode().decode("latin-1"),
        "/v1/clips/\\..\\..\\x/clip.mp4",
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_no_address_leads_out_of_the_store(path, method, port):
    request = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    answer = answer_to(port, request.encode("latin-1"))
    assert answer.split(b" ", 2)[1] in (b"400", b"404", b"405") and b"root:" not in answer


def test_a_head_that_does_not_end_is_not_waited_for(open_port, monkeypatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.2)
    port, _ = open_port()
    with connected(port) as silent, connected(port) as slow, connected(port) as second:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nX-")
        second.sendall(f"GET /healthz HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert ended(silent) == ended(slow) == b""
        assert second.recv(1000).startswith(b"HTTP/1.1 200")
        second.sendall(b"GET /healthz")
        assert ended(second) == b""


def begun(connection: socket.socket, port: int, method: str, path: str, *lines: str) -> bytes:
    """The beginning of an answer to a request without its body."""
    head = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{port}", *lines, "", ""]
    connection.sendall("\r\n".join(head).encode())
    return connection.recv(1000)


@pytest.mark.parametrize("request_line", [("GET", "/healthz"), ("PUT", "/v1/clips")], ids=str)
def test_a_body_whose_request_is_answered_is_not_waited_for(request_line, open_port, monkeypatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.2)
    port, _ = open_port()
    with connected(port) as connection:
        assert begun(connection, port, *request_line, "Content-Length: 1000").startswith(b"HTTP/1.1")
        connection.sendall(b"x")
        ended(connection)


def test_a_body_that_breaks_behind_its_answer_ends_the_connection_without_a_word(open_port, maker, caplog):
    maker.gate.clear()
    port, desk = open_port()
    with client_of(port) as client:
        events = client.post("/v1/clips", files=parts(picture())).json()["events"]
    until(lambda: desk.running)
    caplog.clear()
    for path in ("/healthz", events):
        with connected(port) as connection:
            answer = begun(connection, port, "GET", path, "Transfer-Encoding: chunked")
            assert answer.startswith(b"HTTP/1.1 200")
            connection.sendall(b"no chunk\r\n")
            ended(connection)
    assert not caplog.records


def test_a_body_that_does_not_end_is_not_waited_for(open_port):
    port, _ = open_port(upload_seconds=0.2)
    lines = ("Content-Type: multipart/form-data; boundary=x", "Content-Length: 1000")
    assert raw(port, *lines, body=b"--x\r\n").startswith(b"HTTP/1.1 408")


def test_a_body_that_says_it_is_too_large_is_not_waited_for(port):
    lines = ("Content-Type: multipart/form-data; boundary=x", f"Content-Length: {10**9}")
    assert raw(port, *lines).startswith(b"HTTP/1.1 413")


def test_too_many_bodies_at_once_are_refused(open_port, monkeypatch):
    monkeypatch.setattr("stillmotion.headless.serve.app.PATIENCE", 0.1)
    port, _ = open_port(uploads=1)
    lines = ["POST /v1/clips HTTP/1.1", f"Host: {HOST}", "Content-Type: multipart/form-data; boundary=x"]
    with connected(port) as first:
        first.sendall("\r\n".join([*lines, "Content-Length: 1000", "", ""]).encode())
        until(lambda: client_of(port).post("/v1/clips", files=parts(picture())).status_code == 503)
    until(lambda: client_of(port).post("/v1/clips", files=parts(picture())).status_code == 202)


def test_a_reader_that_takes_nothing_is_let_go(open_port, maker, monkeypatch):
    monkeypatch.setattr(server, "READER_SECONDS", 0.2)
    large = os.urandom(2**24)
    monkeypatch.setattr("support.serving.clip_of", lambda _: large)
    port, desk = open_port()
    with client_of(port) as client:
        key = client.post("/v1/clips", files=parts(picture())).json()["id"]
        until(lambda: desk.state_of(key)["state"] == "done")
        assert client.get(f"/v1/clips/{key}/clip.mp4").content == large
    before = len(psutil.Process().open_files())
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect((HOST, port))
        stuck.sendall(f"GET /v1/clips/{key}/clip.mp4 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        until(lambda: len(psutil.Process().open_files()) > before)
        until(lambda: len(psutil.Process().open_files()) == before)


def test_closing_the_stream_of_its_request_cancels_a_clip(open_port, maker):
    port, desk = open_port()
    maker.gate.clear()
    with client_of(port) as client:
        request = {"files": parts(picture()), "headers": {"accept": "text/event-stream"}}
        with client.stream("POST", "/v1/clips", **request) as answer:
            key = json.loads(next(line for line in answer.iter_lines() if line.startswith("data: "))[6:])[
                "id"
            ]
            assert desk.state_of(key)["state"] in ("queued", "running")
        until(lambda: desk.state_of(key)["state"] == "cancelled", 2)
        with client.stream("GET", client.post("/v1/clips", files=parts(picture())).json()["events"]):
            pass
        maker.gate.set()
        until(lambda: desk.state_of(key)["state"] == "done")  # a stream that only watches cancels nothing


def test_a_hundred_clients_at_once_get_their_clips_and_leave_nothing(open_port, maker):
    port, desk = open_port(queue=100)
    with client_of(port) as client:
        client.post("/v1/clips", files=parts(picture()))
    until(lambda: desk.counts.states["done"] == 1)
    process = psutil.Process()
    until(lambda: not [each for each in process.net_connections() if each.status == "ESTABLISHED"])
    files, threads, got = process.num_fds() if os.name == "posix" else 0, threading.active_count(), {}

    def ask(number: int) -> None:
        content = picture((number, number // 2, 7))
        with client_of(port) as client:
            headers = {"accept": "text/event-stream"}
            answer = client.post("/v1/clips", files=parts(content), headers=headers)
            name, event = events_of(answer.text)[-1]
            assert name == "done"
            got[number] = client.get(event["clip"]).content == clip_of(content)

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(100)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join(60)
    assert len(got) == 100 and all(got.values())
    if os.name == "posix":
        until(lambda: process.num_fds() <= files)
    until(lambda: threading.active_count() <= threads + 40)  # those of anyio's pool, which end when idle


def test_the_end_of_the_server_ends_streams_and_keeps_what_waits(tmp_path, maker):
    app, desk = app_of(tmp_path, maker)
    maker.gate.clear()
    texts = []
    with served(app, desk) as port:

        def watch() -> None:
            with client_of(port) as client:
                texts.append(
                    client.get(client.post("/v1/clips", files=parts(picture())).json()["events"]).text
                )

        thread = threading.Thread(target=watch)
        thread.start()
        until(lambda: desk.running)
    thread.join(20)
    assert (
        events_of(texts[0])[-1][0] in ("running", "ending") and len(list((tmp_path / "queue").iterdir())) == 2
    )
    maker.gate.set()
    app, desk = app_of(tmp_path, maker)
    with served(app, desk):
        until(lambda: desk.counts.states["done"] == 1)


def test_a_port_that_is_taken_is_said(tmp_path):
    with server.bound(HOST, 0) as taken, pytest.raises(ValueError, match="can't be used"):
        server.bound(HOST, taken.getsockname()[1])
    with pytest.raises(ValueError, match="can't be used"):
        server.bound("no.such.host.invalid", 0)
