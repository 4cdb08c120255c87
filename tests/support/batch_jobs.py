"""Jobs of a batch without a model, for tests of what is around it; they travel to other processes."""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stillmotion.headless.batch.rows import Row


@dataclass(frozen=True)
class StubJob:
    """A job whose clips are a hash, 100 bytes long, of their picture and their settings.

    A row with the id "exits" ends its process, "exits late" does so while it is written, "fails" by an error
    that no row causes. "waits" works until it is stopped, "memory" never has enough, "refused" is refused.
    """

    fingerprint: str = "stub"
    extension: str = ".mp4"
    seconds: float = 0.0

    def key(self, row: Row, picture: str) -> str:
        """A key of the picture and the settings."""
        return hashlib.sha256(f"{picture} {sorted(row.settings.items())}".encode()).hexdigest()

    def make(self, row: Row, picture: bytes, check: Callable[[], None]) -> Callable[[Path], None]:
        """Makes a clip, or what the id asks for."""
        if row.id == "exits":
            os._exit(9)
        if row.id == "exits late":
            return _exit_late
        if row.id == "fails":
            raise RuntimeError("the device failed")
        if row.id == "memory":
            raise MemoryError("out of memory")
        if row.id == "refused":
            raise ValueError("the row wants to be refused.")
        end = time.monotonic() + (60 if row.id == "waits" else self.seconds)
        while time.monotonic() < end:
            check()
            time.sleep(0.005)
        return partial(_write, clip_of(picture, row.settings))


def clip_of(picture: bytes, settings: dict) -> bytes:
    """Content of the stub's clip."""
    return (hashlib.sha256(picture + repr(sorted(settings.items())).encode()).hexdigest() * 2)[:100].encode()


def _exit_late(_: Path) -> None:
    time.sleep(0.2)
    os._exit(9)


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def age(folder: Path) -> None:
    """Makes what was left in a folder two days old."""
    for left in folder.iterdir():
        os.utime(left, (time.time() - 48 * 3600,) * 2)


def opened(seconds: float, _index: int, _number: int) -> StubJob:
    """Opens the job in a worker."""
    return StubJob(seconds=seconds)
