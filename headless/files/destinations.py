"""Destinations of results: no existing file is lost, and no finished result is thrown away.

A result is written under a temporary name beside its destination and moved there at the very end. An
existing file is replaced only where the caller says so; a finished result that can't be moved is kept beside.
"""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

_MOST_NAMES = 10_000
_LONGEST_NAME = 255  # bytes
_SYSTEM_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")  # what file browsers add unasked


class OutputError(ValueError):
    """An output that can't be written; the message names it, the fault and the remedy."""


class ExistsError(OutputError):
    """An output that exists already, and would be replaced if the caller allowed it."""

    def __init__(self, path: Path):
        super().__init__(f"{path} is there already and stays; name another, or ask to overwrite it.")
        self.path = path


def real(path: Path) -> Path:
    """Resolves all links of a path."""
    return Path(os.path.realpath(path))


def check_apart(path: Path, read: Iterable[Path], written: Iterable[Path]) -> None:
    """Raises OutputError where an output meets an input or another output.

    Two paths meet if they lead to one file, or if a folder at one path holds the other. An
    output may lie in a folder that is read.
    """
    written = list(written)
    others = [*read, *written]
    for other in others:
        if _same(path, other):
            raise OutputError(f"{path} is read or written already; give every file a name of its own.")
    for other in others:
        if _holds(path, other):
            raise OutputError(f"{path} would hold {other}, another file of this run; name a folder apart.")
    for other in written:
        if _holds(other, path):
            raise OutputError(f"{path} lies in {other}, another output; name a place outside of it.")


def check_free(final: Path, overwrite: bool) -> None:
    """Raises OutputError where a file can't become `final`: an existing file stays, a folder is no file."""
    if final.is_dir():
        raise OutputError(f"{final}: is a folder; name a file, or end it in a slash for PNG frames")
    if not os.path.lexists(final):
        return
    if not (final.is_file() and os.access(final, os.W_OK)):
        raise OutputError(f"{final}: is no writable file; make it writable or name another file")
    if not overwrite:
        raise ExistsError(final)


def check_parent(final: Path, is_folder: bool = False) -> None:
    """Raises OutputError where nothing can be created beside `final`; leaves nothing behind."""
    try:
        if not final.parent.is_dir():
            found = "is a file" if final.parent.exists() else "does not exist"
            raise OutputError(f"{final}: the folder {final.parent} {found}; create it or name another folder")
        with contextlib.suppress(FileNotFoundError):
            final.lstat()  # raises OSError for an overlong name
        # Really create something: permission bits do not tell of read-only disks.
        temporary = _neighbour(final)
        try:
            (temporary.mkdir if is_folder else temporary.touch)()
        finally:
            _remove(temporary)
    except OSError as error:
        remedy = "shorten the name" if error.errno == errno.ENAMETOOLONG else "name another folder"
        raise OutputError(f"{final}: not writable ({error.strerror}); {remedy}") from error


def free_name(final: Path, reserved: Collection[Path] = ()) -> Path:
    """Finds a name that is neither on the disk nor reserved: `final`, or the first of final-2, final-3, ….

    Names that differ in case only count as equal, as on many disks.
    """
    folded = {str(path).casefold() for path in reserved}
    for candidate in _names(final):
        if str(real(candidate)).casefold() not in folded and not os.path.lexists(candidate):
            return candidate
    raise OutputError(f"{final}: {_MOST_NAMES} of that name are there already; name another")


@contextlib.contextmanager
def replacing(
    final: Path, overwrite: bool, check_folder: Callable[[Path], Collection[str]] | None = None
) -> Iterator[Path]:
    """Gives a temporary path to write to, a file or a folder, which becomes `final` at the end.

    Without `overwrite` an existing file stays. `check_folder` is asked which files of an existing folder
    may go; it raises OutputError where that is not to be replaced. Raises OutputError, naming where the
    finished result lies, if it can't be moved to `final`; on any other error nothing is left.
    """
    temporary = _neighbour(final)
    try:
        yield temporary
    except BaseException:
        _remove(temporary)
        raise
    try:
        if temporary.is_dir():
            _move_folder(temporary, final, check_folder)
        else:
            _move_file(temporary, final, overwrite)
    except (OSError, OutputError) as error:
        kept = _keep_beside(temporary, final)
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{final}: not replaced ({reason}); what was made is kept as {kept}") from error
    except BaseException:
        _remove(temporary)
        raise


def _move_file(temporary: Path, final: Path, overwrite: bool) -> None:
    if overwrite and final.is_file():
        shutil.copymode(final, temporary)
        os.replace(temporary, final)
        return
    # An exclusive empty file first: renaming alone replaces what came there since the check.
    claimed = False
    try:
        handle = os.open(final, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        claimed = True
        os.close(handle)
        os.replace(temporary, final)
    except BaseException:
        if claimed and temporary.exists():
            _remove(final)
        raise


def _move_folder(temporary: Path, final: Path, check_folder: Callable[[Path], Collection[str]]) -> None:
    """Moves a folder; into an existing one file by file, and only replaceable files make place."""
    if not os.path.lexists(final):
        os.rename(temporary, final)
        return
    old = check_folder(final)  # again: files may have been added while the frames were computed
    new, aside = os.listdir(temporary), _neighbour(final)
    try:
        aside.mkdir()
        for name in old:
            os.rename(final / name, aside / name)
        for name in new:
            if os.path.lexists(final / name):
                raise FileExistsError(f"{final / name} has come meanwhile")
            os.rename(temporary / name, final / name)
    except BaseException:
        if aside.exists():
            _move_back(final, temporary, [name for name in new if not (temporary / name).exists()])
            _move_back(aside, final, os.listdir(aside))
            with contextlib.suppress(OSError):  # what can't be moved back stays there
                aside.rmdir()
        raise
    _remove(aside)
    _remove(temporary)


def _move_back(source: Path, target: Path, names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):
            os.rename(source / name, target / name)


def is_system_file(name: str) -> bool:
    """Whether file browsers put files of a name into folders."""
    return name in _SYSTEM_FILES


def _keep_beside(temporary: Path, final: Path) -> Path:
    """Gives a finished result another name in its folder; leaves it where it is if that fails too."""
    with contextlib.suppress(OSError, OutputError):
        kept = free_name(final, reserved=(real(final),))
        if temporary.is_dir():
            os.rename(temporary, kept)
        else:
            _move_file(temporary, kept, overwrite=False)
        return kept
    return temporary


def _names(final: Path) -> Iterator[Path]:
    yield final
    for number in range(2, _MOST_NAMES):
        yield final.with_name(f"{final.stem}-{number}{final.suffix}")


def _neighbour(final: Path) -> Path:
    """A temporary name of a length that disks take; it keeps the end of a long name, for its extension."""
    start = f".{secrets.token_hex(4)}.partial."
    end = os.fsencode(final.name)[len(start) - _LONGEST_NAME :].decode(errors="ignore")
    return final.parent / (start + end)


def _remove(temporary: Path) -> None:
    with contextlib.suppress(OSError):  # the error that led here is the one to report
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def _same(path: Path, other: Path) -> bool:
    """Whether two paths are one file, also by links and where names differ in case only."""
    if real(path) == real(other):
        return True
    with contextlib.suppress(OSError):
        return os.path.samefile(path, other)
    return False


def _holds(folder: Path, path: Path) -> bool:
    return any(_same(folder, parent) for parent in real(path).parents)
