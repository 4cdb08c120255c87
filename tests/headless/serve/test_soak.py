"""A hundred clients for a while: slow ones, some that go, some that cancel, and a kill in the middle.

STILLMOTION_SOAK=600 is the number of seconds; what was seen is written to standard output.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx2
import psutil
import pytest

from stillmotion.headless.batch.record import clip_name
from stillmotion.headless.batch.stores import clean, open_store
from stillmotion.headless.serve import server
from support.batch_jobs import age
from support.pages import ROOT
from support.serving import HOST, parts, picture

SECONDS, CLIENTS = float(os.environ.get("STILLMOTION_SOAK", "60")), 100
QUICK = ("--frames", "2", "--width", "64", "--height", "64", "--steps", "1")

MOST_GROWTH = 64 * 2**20  # bytes of memory, of allocators that keep what they had
POOL = 40  # threads that the server's own pool may keep
LEAST_REQUESTS = 1000


@dataclass
class Seen:
    """What the clients saw; a lock guards it."""

    wanted: set[str] = field(default_factory=set)  # asked for, and cancelled by nobody
    contents: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    seed: int = 0
    down: tuple[float, float] = (float("inf"), float("inf"))  # from the kill until it is ready again
    slowest_cancel: float = 0.0  # seconds until a cancelled clip was over

    def next_seed(self) -> int:
        with self.lock:
            self.seed += 1
            return self.seed

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1


class Client:
    """A client that asks in one of several ways until the time is over."""

    def __init__(self, port: int, seen: Seen, number: int, end: float):
        self.port, self.seen, self.end = port, seen, end
        self.random = random.Random(number)
        self.content = picture((number * 2, 255 - number, 90))
        hooks = {"request": [lambda _: seen.count("requests")]}
        self.http = httpx2.Client(base_url=f"http://{HOST}:{port}", timeout=120, event_hooks=hooks)

    def run(self) -> None:
        while (start := time.monotonic()) < self.end:
            way = self.random.choice(("waits", "waits", "waits", *WAYS))
            try:
                getattr(self, way)()
                self.seen.count(way)
            except (httpx2.TransportError, OSError) as error:
                killed, ready = self.seen.down
                if start > ready or time.monotonic() < killed:
                    self.fault(way, error)
                self.seen.count("no connection")
                time.sleep(0.5)
            except Exception as error:
                self.fault(way, error)
        self.http.close()

    def fault(self, way: str, error: Exception) -> None:
        with self.seen.lock:
            self.seen.faults.append(f"{way}: {error!r}")

    def ask(self, **headers) -> httpx2.Response | None:
        """Asks for a new clip; None where there is no room."""
        answer = self.http.post(
            "/v1/clips", files=parts(self.content, seed=self.seen.next_seed()), headers=headers
        )
        if answer.status_code == 503:
            self.seen.count("no room")
            time.sleep(self.random.uniform(0.5, 2))
            return None
        assert answer.status_code in (200, 202), answer.text
        return answer

    def ordered(self) -> str | None:
        answer = self.ask()
        if answer is None:
            return None
        with self.seen.lock:
            self.seen.wanted.add(answer.json()["id"])
        return answer.json()["id"]

    def waits(self) -> None:
        """Asks, asks how far it is, and takes the clip, now and then slowly."""
        key = self.ordered()
        if key is None:
            return
        while (state := self.http.get(f"/v1/clips/{key}").json())["state"] != "done":
            assert state["state"] in ("queued", "running"), state
            time.sleep(self.random.uniform(0.2, 1))
        digest, slowly = hashlib.sha256(), self.random.random() < 0.2
        with self.http.stream("GET", state["clip"]) as answer:
            for piece in answer.iter_bytes(256):
                digest.update(piece)
                time.sleep(0.01 * slowly)
        with self.seen.lock:
            assert self.seen.contents.setdefault(key, digest.hexdigest()) == digest.hexdigest()

    def watches(self) -> None:
        """Reads the progress slowly to its end."""
        order = {"files": parts(self.content, seed=self.seen.next_seed())}
        headers = {"accept": "text/event-stream"}
        with self.http.stream("POST", "/v1/clips", **order, headers=headers) as answer:
            if answer.status_code == 503:
                return
            last = ""
            for line in answer.iter_lines():
                last = line if line.startswith("event: ") else last
                time.sleep(0.02)
        assert last in ("event: done", "event: ending"), last

    def leaves(self) -> None:
        """Closes the stream of its request at the first event."""
        order = {"files": parts(self.content, seed=self.seen.next_seed())}
        headers = {"accept": "text/event-stream"}
        with self.http.stream("POST", "/v1/clips", **order, headers=headers) as answer:
            next(answer.iter_lines(), None)

    def cancels(self) -> None:
        """Cancels a clip, wherever it is, and waits until it is over."""
        answer = self.ask()
        if answer is None:
            return
        key = answer.json()["id"]
        time.sleep(self.random.uniform(0, 2))
        start, answer = time.monotonic(), self.http.delete(f"/v1/clips/{key}")
        assert answer.status_code in (202, 409), answer.text
        while self.http.get(f"/v1/clips/{key}").json().get("state") in ("queued", "running"):
            time.sleep(0.02)
        with self.seen.lock:
            self.seen.slowest_cancel = max(self.seen.slowest_cancel, time.monotonic() - start)

    def breaks_off(self) -> None:
        """Takes the first bytes of a clip and goes."""
        with self.seen.lock:
            key = next(iter(self.seen.contents), None)
        if key is not None:
            with socket.create_connection((HOST, self.port), timeout=30) as connection:
                request = f"GET /v1/clips/{key}/clip.mp4 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
                connection.sendall(request.encode())
                connection.recv(10)

    def half(self) -> None:
        """Sends half a body and goes."""
        with socket.create_connection((HOST, self.port), timeout=30) as connection:
            head = f"POST /v1/clips HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5000\r\n"
            head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            connection.sendall(head.encode() + b'--x\r\ncontent-disposition: form-data; name="picture"')

    def odd(self) -> None:
        """Sends what is no request of the service's."""
        assert self.http.post("/v1/clips", files=parts(b"nonsense")).status_code in (400, 503)
        assert self.http.get("/v1/clips/..%2f..").status_code == 404


WAYS = ("waits", "watches", "leaves", "cancels", "breaks_off", "half", "odd")


def started(port: int, out) -> subprocess.Popen:
    words = [sys.executable, "-m", "stillmotion", "serve", "--port", str(port), "--store", str(out), *QUICK]
    process = subprocess.Popen(
        [*words, "--queue", "60"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait(port, process)
    return process


def wait(port: int, process: subprocess.Popen) -> None:
    """Waits until the weights are loaded."""
    while process.poll() is None:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"http://{HOST}:{port}/readyz").status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError("the service ended")


def resources(process: subprocess.Popen) -> dict[str, int]:
    service = psutil.Process(process.pid)
    return {
        "files": service.num_fds(),
        "threads": service.num_threads(),
        "MB": service.memory_info().rss // 2**20,
    }


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
def test_a_hundred_clients_of_all_kinds_lose_no_clip_and_leave_nothing(tmp_path):
    with server.bound(HOST, 0) as free:
        port = free.getsockname()[1]
    out, seen = tmp_path / "out", Seen()
    process = started(port, out)
    fresh = resources(process)
    end = time.monotonic() + SECONDS
    clients = [
        threading.Thread(target=Client(port, seen, number, end).run, daemon=True) for number in range(CLIENTS)
    ]
    try:
        for thread in clients:
            thread.start()
        time.sleep(SECONDS / 3)
        seen.down = time.monotonic(), float("inf")
        process.kill()
        process.wait()
        process = started(port, out)
        seen.down = seen.down[0], time.monotonic()
        time.sleep(SECONDS / 6)
        early = resources(process)
        for thread in clients:
            thread.join(SECONDS + 300)
        assert not any(thread.is_alive() for thread in clients)
        made, left = settled(port, out)
        late = resources(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
    report = f"{dict(seen.counts)}\n{len(seen.wanted)} wanted, {made} made"
    report += f", slowest cancel {seen.slowest_cancel:.1f} s"
    sys.stdout.write(f"\n{report}; fresh {fresh}, early {early}, late {late}\n")
    assert seen.faults == []
    assert seen.counts.keys() >= set(WAYS) and seen.counts["requests"] >= LEAST_REQUESTS
    assert [key for key in seen.wanted if not (out / clip_name(key, ".mp4")).exists()] == []
    for key, digest in seen.contents.items():
        assert hashlib.sha256((out / clip_name(key, ".mp4")).read_bytes()).hexdigest() == digest
    assert left == []
    assert late["files"] <= fresh["files"] + 1 and late["threads"] <= fresh["threads"] + POOL
    assert (late["MB"] - early["MB"]) * 2**20 <= MOST_GROWTH
    assert twice(out) == []


def settled(port: int, out) -> tuple[int, list[str]]:
    """Waits until nothing waits any more; the number of clips, and files of what is under way."""
    with httpx2.Client(base_url=f"http://{HOST}:{port}", timeout=120) as client:
        while True:
            numbers = client.get("/metrics").text.splitlines()
            if {"stillmotion_clips_queued 0", "stillmotion_clips_running 0"} <= set(numbers):
                break
            time.sleep(0.5)
    time.sleep(6)  # until connections that are kept alive end
    left = [str(path) for name in ("queue", "attempts") for path in (out / name).glob("*")]
    age(out / "parts")  # in which the killed service may have left something, for a day
    clean(open_store(str(out)))
    left += map(str, (out / "parts").glob("*"))
    return sum(1 for _ in (out / "clips").rglob("*.mp4")), left


def twice(out) -> list[str]:
    """Keys that the record has twice."""
    files = (out / "done").rglob("*.jsonl")
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    keys = Counter(line["key"] for line in lines if line["state"] == "done")
    return [key for key, number in keys.items() if number > 1]
