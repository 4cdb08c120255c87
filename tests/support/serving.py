"""The service without a model, for tests of what is around it: a maker, pictures, a server in a thread."""

import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from PIL import Image

from stillmotion.headless.batch.rows import Row
from stillmotion.headless.batch.stores import open_store
from stillmotion.headless.serve import server
from stillmotion.headless.serve.app import Service, make_app
from stillmotion.headless.serve.desk import Desk
from stillmotion.headless.serve.hands import Hands
from stillmotion.headless.serve.limits import Limits
from stillmotion.headless.serve.tokens import Tokens

HOST = "127.0.0.1"


def picture(colour=(200, 80, 30), size=(64, 48), kind="PNG") -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


class StubMaker:
    """Makes clips of 3,000 bytes, in steps; `gate` closed, it waits before the last of them.

    A clip with the seed 13 is refused, 99 fails by a fault of the program.
    """

    extension = ".mp4"

    def __init__(self):
        self.gate, self.asked = threading.Event(), []
        self.gate.set()

    def key(self, row: Row, digest: str) -> str:
        """A key of the picture and the settings."""
        if row.settings.get("width", 64) % 64:
            raise ValueError(f"width is {row.settings['width']}; it must be a multiple of 64.")
        return hashlib.sha256(f"{digest} {sorted(row.settings.items())}".encode()).hexdigest()

    def work(self, row: Row) -> float:
        """A tenth for each frame."""
        return row.settings.get("num_frames", 1) / 10

    def load(self) -> None:
        """Has nothing to load."""

    def make(
        self, row: Row, content: bytes, check: Callable[[], None], progress: Callable[[str, int, int], object]
    ) -> Callable[[Path], None]:
        """Makes a clip, or what the seed asks for."""
        self.asked.append(row)
        if row.settings.get("seed") == 13:
            raise ValueError("the picture wants to be refused.")
        if row.settings.get("seed") == 99:
            raise RuntimeError("a fault")
        progress("sampling", 1, 2)
        while not self.gate.wait(0.005):
            check()
        check()
        progress("sampling", 2, 2)
        return partial(_write, clip_of(content))


def clip_of(content: bytes) -> bytes:
    """Content of the stub's clip of a picture."""
    return (hashlib.sha256(content).hexdigest() * 50)[:3000].encode()


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def desk_of(out, limits: Limits | None = None) -> Desk:
    """A desk with a store in a folder."""
    return Desk(open_store(str(out)), ".mp4", limits or Limits())


def app_of(out, maker: StubMaker, limits: Limits | None = None, tokens: Tokens | None = None, **more):
    """The app with a stub's clips, and its desk."""
    desk = desk_of(out, limits)
    desk.go_on(maker)
    service = Service(Hands(desk, [maker]), maker, {"stillmotion": "test"}, **more)
    return make_app(lambda: service, tokens or Tokens(), desk.limits), desk


@contextmanager
def served(app, desk) -> Iterator[int]:
    """A block in which an app is served at a port of this machine, by the product's own server."""
    listening = server.bound(HOST, 0)
    running = server.server_of(app, desk.close)
    thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        running.handle_exit(15, None)
        thread.join(30)
        assert not thread.is_alive()


def parts(content: bytes, **settings) -> dict:
    """The files of a request."""
    return {"picture": ("a.png", content), "settings": (None, json.dumps(settings))}


def until(fulfilled: Callable[[], object], seconds: float = 20.0):
    """Waits for a condition, and returns its value."""
    end = time.monotonic() + seconds
    while not (value := fulfilled()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return value


def events_of(text: str) -> list[tuple[str, dict]]:
    """Events of a stream: their names and contents."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("event: ")]
    return [(block[0][7:], json.loads(block[1][6:])) for block in blocks]
