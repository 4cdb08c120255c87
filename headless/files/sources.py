"""Pictures that a command reads: named files, folders, or standard input."""

import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...clips.mistakes import Mistakes, did_you_mean
from .images import ImageError, read_image

STANDARD_INPUT = "-"
EXTENSIONS = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".gif", ".tif", ".tiff", ".bmp", ".jp2")
"""Extensions of pictures in a folder; a file that is named itself may have any."""
_MOST_BYTES = 2**30  # of a picture on standard input
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}")  # not C:/, and what pathlib leaves of https://


@dataclass(frozen=True)
class Picture:
    """A picture to animate: a file, or standard input where `path` is None."""

    path: Path | None

    @property
    def name(self) -> str:
        """The name in messages and metadata."""
        return "standard input" if self.path is None else self.path.name

    @property
    def stem(self) -> str:
        """The stem of the names of outputs."""
        return "picture" if self.path is None else self.path.stem

    def read(self) -> Image.Image:
        """Reads the picture, upright and in sRGB; raises ImageError."""
        if self.path is not None:
            return read_image(self.path)
        content = b"" if sys.stdin is None else sys.stdin.buffer.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ImageError(f"standard input holds more than {_MOST_BYTES} bytes, which is no picture.")
        if not content:
            raise ImageError("standard input is empty; give a picture there, or name a file.")
        return read_image(io.BytesIO(content))


def find_pictures(names: Sequence[str], mistakes: Mistakes) -> list[Picture]:
    """Finds pictures by name: a file, all pictures of a folder, or "-" for standard input."""
    found: list[Picture] = []
    for name in names:
        if name == STANDARD_INPUT:
            found.append(Picture(None))
            continue
        with mistakes.collected():
            path = existing(name)
            found += map(Picture, pictures_in(path)) if path.is_dir() else [Picture(path)]
    if [picture.path for picture in found].count(None) > 1:
        mistakes.add(f"{STANDARD_INPUT} is given twice; standard input holds one picture.")
    return list(dict.fromkeys(found))


def refuse_url(name: str | os.PathLike[str]) -> None:
    """Raises ValueError for an address on the network: Stillmotion never uses it."""
    text = os.fspath(name)
    if _URL.match(text) and not os.path.lexists(text):
        raise ValueError(
            f"{text} is a URL, and Stillmotion does not use the network; name a file on this machine."
        )


def existing(name: str | os.PathLike[str]) -> Path:
    """The path of a file or a folder; raises ValueError without one, with a name that may have been meant."""
    refuse_url(name)
    path = Path(name)
    if os.path.exists(path):
        return path
    if path.is_symlink():
        raise ValueError(f"{path} is a link to {os.readlink(path)}, which is not there; mend or replace it.")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no such file, nor the folder {path.parent}.")
    meant = did_you_mean(path.name, os.listdir(path.parent))
    raise ValueError(f"{path}: there is no such file{meant or '; check its name.'}")


def pictures_in(folder: Path) -> list[Path]:
    """Pictures of a folder by their names, 2 before 10; raises ValueError where there is none."""
    inside = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    ]
    if not inside:
        raise ValueError(f"{folder} holds no picture ({', '.join(EXTENSIONS)}); name another folder.")
    return sorted(inside, key=_with_long_numbers)


def _with_long_numbers(path: Path) -> tuple[str, str]:
    """A name that sorts as its numbers count, and the name itself."""
    return re.sub(r"[0-9]+", lambda number: number[0].zfill(255), path.name), path.name
