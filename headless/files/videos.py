"""Clips are written in the format that the extension of the file asks for, and their metadata read.

A path without extension, or ending in a slash, is a folder of PNG frames. An interrupted run leaves neither
half a file nor a damaged older one (destinations.py). Equal frames and metadata give equal bytes. Several
outputs are written while their clip is decoded, each by a generator to which frames are sent.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ...clips.mistakes import Mistakes
from ...clips.values import plain
from . import destinations
from .destinations import OutputError
from .formats import DAMAGED_INPUT_ERRORS, EXTENSIONS, FORMATS, Writer

FIRST_FRAME_NAME = "frame_0000.png"
FRAME_NAME = re.compile(r"frame_\d{4,}\.png")
SLOWEST, FASTEST = 0.1, 1000  # frames per second that every format can time


def check_output(path: str | os.PathLike, overwrite: bool = False) -> Path:
    """Returns the path that `write_video` would write; raises OutputError where it could not.

    Without `overwrite` an existing file raises ExistsError. Leaves nothing behind.
    """
    final, extension = _destination(path)
    destinations.check_parent(final, is_folder=not extension)
    if extension:
        destinations.check_free(final, overwrite)
    elif os.path.lexists(final):
        _replaceable(final, overwrite)
    return final


def write_video(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    metadata: Mapping[str, Any] | None = None,
    progress: Callable[[int], object] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write `frames`, an iterable of uint8 (H, W, 3) RGB arrays, to `path` at `fps` frames per second.

    `metadata` is stored as one JSON text, None stores nothing; `progress` is called with the number of frames
    taken in so far. `overwrite` allows replacing a file that is there, or a folder of frames whose metadata
    say that they were written here; any other folder with something in it is refused. Raises OutputError for
    arguments that cannot be written and errors of the disk, passes on any other exception of `frames` or
    `progress`, and then leaves the folder as it was before; if only the last move fails, the clip is kept
    under the name that the error gives.
    """
    check_output(path, overwrite)
    with contextlib.closing(_writer(path, fps, metadata, overwrite)) as writer:
        next(writer)
        for done, frame in enumerate(_checked(frames), start=1):
            writer.send(frame)
            if progress is not None:
                progress(done)
        _finish(writer)


def write_videos(
    outputs: Mapping[str, bool],
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    metadata: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Write a clip to several paths while its frames come, and yield each path once it is written.

    `outputs`: whether each path may be replaced. `check_output` has accepted them earlier; a file that has
    come there since stays, and the clip is kept beside it. An output that fails does not keep the others from
    being written; all failures are raised at the end, as MistakesError. An exception of `frames` ends all
    outputs, and leaves their folders as they were before.
    """
    failed, writers = Mistakes(), {}
    with contextlib.ExitStack() as stack:
        for path, overwrite in outputs.items():
            writer = stack.enter_context(contextlib.closing(_writer(path, fps, metadata, overwrite)))
            if _succeeds(failed, next, writer):
                writers[path] = writer
        if writers:
            for frame in _checked(frames):
                writers = {p: w for p, w in writers.items() if _succeeds(failed, w.send, frame)}
                if not writers:
                    break
        for path, writer in writers.items():
            if _succeeds(failed, _finish, writer):
                yield path
    failed.raise_any()


def _succeeds(failed: Mistakes, step: Callable, argument: object) -> bool:
    """Take a step of a writer, and tell whether it succeeds; its error is collected."""
    with failed.collected():
        step(argument)
        return True
    return False


def _writer(
    path: str | os.PathLike, fps: float | Fraction, metadata: Mapping[str, Any] | None, overwrite: bool
) -> Writer:
    """Writer of checked frames to a path, which is replaced once None is sent."""
    final, extension = _destination(path)
    rate, text = _frame_rate(fps), _metadata_text(metadata)
    write, _ = FORMATS[extension]
    try:
        with destinations.replacing(final, overwrite, lambda folder: _replaceable(folder, overwrite)) as part:
            yield from write(part, rate, text)
    except OSError as error:
        reason = error.strerror or error  # Pillow raises some without
        raise OutputError(f"{final}: could not be written ({reason}); name another folder") from error


def _finish(writer: Writer) -> None:
    """Tell a writer that all frames have come."""
    with contextlib.suppress(StopIteration):
        writer.send(None)


def read_metadata(path: str | os.PathLike) -> dict[str, Any] | None:
    """Return the metadata stored in `path` (in the first frame of a folder); None if absent or damaged.

    Raises FileNotFoundError if there is no such file, OutputError for an unknown extension.
    """
    _, extension = _destination(path)
    source = Path(path).absolute()  # or FFmpeg would read "file:" in a name as a protocol
    source = source if extension else source / FIRST_FRAME_NAME
    if not source.is_file():
        raise FileNotFoundError(f"{source}: there is no such file to read metadata from")
    _, read = FORMATS[extension]
    try:
        metadata = json.loads(read(source) or "null")
    except DAMAGED_INPUT_ERRORS:
        return None
    return metadata if isinstance(metadata, dict) else None


# Where the output goes


def _destination(path: str | os.PathLike) -> tuple[Path, str]:
    """Return the path behind any links, which stay links, and the extension, "" for a frame folder."""
    name = os.fsdecode(path)
    accepted = f"{', '.join(EXTENSIONS)}, or no extension or a final slash for a folder of PNG frames"
    if not name or "\0" in name or Path(name).name.lower() in EXTENSIONS:
        raise OutputError(f"{name!r} names no output file; accepted are names that end in {accepted}")
    final, extension = destinations.real(Path(name)), Path(name).suffix.lower()
    is_folder = not extension or name.endswith(("/", os.sep)) or (extension not in FORMATS and final.is_dir())
    if is_folder or extension in FORMATS:
        return final, "" if is_folder else extension
    raise OutputError(f"{name}: unknown extension {extension}; accepted are {accepted}")


def _replaceable(folder: Path, overwrite: bool) -> list[str]:
    """List the replaceable frames of a folder; raise OutputError where other files are in it."""
    if not folder.is_dir():
        accepted = ", ".join(EXTENSIONS)
        raise OutputError(f"{folder}: is a file; name a folder for PNG frames or a file ending in {accepted}")
    names = [name for name in os.listdir(folder) if not destinations.is_system_file(name)]
    foreign = [name for name in names if not _is_ours(folder / name)]
    if foreign:
        raise OutputError(
            f"{folder}: holds {min(foreign)!r}, no frame with Stillmotion's metadata, and it stays; name a "
            "new or an empty folder"
        )
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: is a folder without write permission; grant it or name another folder")
    if names and not overwrite:
        raise destinations.ExistsError(folder)
    return names


def _is_ours(frame: Path) -> bool:
    """Tell whether `write_video` wrote the file, as a frame with metadata."""
    if not FRAME_NAME.fullmatch(frame.name) or frame.is_symlink() or not frame.is_file():
        return False
    try:
        _, read = FORMATS[""]
        return isinstance(json.loads(read(frame) or "null"), dict)
    except DAMAGED_INPUT_ERRORS:
        return False


# What is written


def _frame_rate(fps: float | Fraction) -> Fraction:
    """Return the rate as a fraction that video containers hold exactly (29.97 is 2997/100)."""
    try:
        number = plain(fps)
        rate = 0 if isinstance(number, bool) else Fraction(number).limit_denominator(1001)
    except (TypeError, ValueError, OverflowError):  # not a number, NaN, infinity
        rate = 0
    if not SLOWEST <= rate <= FASTEST:
        raise OutputError(f"fps: got {fps!r}, accepted are frames per second from {SLOWEST} to {FASTEST}")
    return rate


def _metadata_text(metadata: Mapping[str, Any] | None) -> str | None:
    try:
        return None if metadata is None else json.dumps(dict(metadata), sort_keys=True, ensure_ascii=True)
    except (TypeError, ValueError) as error:
        raise OutputError(f"metadata: not what JSON can hold ({error}); use text and numbers") from error


def _checked(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield `frames` one by one after checking each."""
    first = None
    for index, frame in enumerate(map(_as_array, frames)):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
            found = f"{frame.dtype} of shape {frame.shape}"
            raise OutputError(f"frame {index}: is {found}; convert it to uint8 of shape (height, width, 3)")
        height, width, _ = frame.shape
        first = first or (height, width)
        if (height, width) != first:
            found = f"is {width}x{height} and frame 0 is {first[1]}x{first[0]}"
            raise OutputError(f"frame {index}: {found}; bring all frames to one size")
        yield np.ascontiguousarray(frame)
    if first is None:
        raise OutputError("there are no frames to write; a clip needs at least one")


def _as_array(frame) -> np.ndarray:
    """Converts a frame of any kind to an array, also a tensor on a device."""
    return np.asarray(frame.detach().cpu() if hasattr(frame, "detach") else frame)
