"""Stores of clips and records: a folder, or an address. What stands under a name is whole.

A store has whole objects under names such as clips/ab/cd/KEY.mp4. It puts, reads, deletes, and says whether a
name is there; only folders of a few records are listed. A call that fails is tried twice more.
"""

import contextlib
import functools
import os
import re
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from pathlib import Path

from . import remote
from .patience import patient
from .places import check_address, is_address

PARTS = "parts"
"""The folder of files that are being written, beside those of the store."""

OLD_SECONDS = 24 * 3600

WHOLE_PUTS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci")
"""Protocols whose objects appear at once or not at all; elsewhere a file is moved to its name."""


class StoreError(Exception):
    """A store that fails, again and again; the run ends, and the next one goes on."""


class Store(ABC):
    """Whole objects under names."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether an object is there."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Content of an object; raises FileNotFoundError where there is none."""

    @abstractmethod
    def put(self, name: str, content: bytes) -> None:
        """Writes a whole object, over one that is there."""

    @abstractmethod
    def put_file(self, name: str, file: Path) -> None:
        """Makes a finished file, written in `parts`, an object; the file is gone then."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Deletes an object, if it is there."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Names of the objects in a folder and in its own ones, none where there is no such folder."""

    @abstractmethod
    def parts(self) -> Path:
        """A folder of this machine for files that are being written."""

    def old_parts(self, limit: float) -> list[str]:
        """Names of parts in the store itself that were written before a time, in seconds since 1970."""
        return []


def open_store(name: str, option: str = "--out") -> Store:
    """The store of a folder or an address; raises ValueError where none can be. option: that names it."""
    if is_address(name):
        check_address(name)
        return RemoteStore(*remote.file_system(name), whole_puts=name.partition(":")[0] in WHOLE_PUTS)
    if os.path.lexists(name) and not os.path.isdir(name):
        raise ValueError(f"{option} {name} is no folder; name one, or one to make.")
    return FolderStore(Path(name))


def _patient(call):
    """Decorates a call of a store by `patient`; what fails to the end, is a StoreError."""
    tried = patient(call)

    @functools.wraps(call)
    def put_in_words(self, name: str, *arguments):
        try:
            return tried(self, name, *arguments)
        except OSError as error:
            if call.__name__ == "read" and isinstance(error, FileNotFoundError):
                raise  # of what may not be there; elsewhere a folder or a bucket is gone
            raise StoreError(f"the store fails at {name}: {error}") from error

    return put_in_words


class FolderStore(Store):
    """A folder of this machine, or of a disk that several share."""

    def __init__(self, root: Path):
        self.root = root

    @_patient
    def exists(self, name: str) -> bool:
        return os.path.lexists(self.root / name)

    @_patient
    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    @_patient
    def put(self, name: str, content: bytes) -> None:
        part = self.parts() / _new_part()
        try:
            part.write_bytes(content)
            self._move(part, name)
        finally:
            part.unlink(missing_ok=True)

    @_patient
    def put_file(self, name: str, file: Path) -> None:
        self._move(file, name)

    @_patient
    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    @_patient
    def names(self, folder: str) -> list[str]:
        top = self.root / folder
        return sorted(path.relative_to(self.root).as_posix() for path in top.rglob("*") if path.is_file())

    def parts(self) -> Path:
        folder = self.root / PARTS
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _move(self, file: Path, name: str) -> None:
        """Moves a file to its name, such that neither content nor name is lost with the power."""
        final = self.root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(file, final)
        with contextlib.suppress(OSError):  # not every system can open a folder
            handle = os.open(final.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


class RemoteStore(Store):
    """An address of fsspec; clips are written to a folder of this machine first."""

    def __init__(self, system, root: str, whole_puts: bool):
        self.system, self.root, self._whole_puts = system, root.rstrip("/"), whole_puts
        self._parts = tempfile.TemporaryDirectory(prefix="stillmotion-")

    @_patient
    def exists(self, name: str) -> bool:
        return self.system.exists(self._path(name))

    @_patient
    def read(self, name: str) -> bytes:
        return self.system.cat_file(self._path(name))

    def put(self, name: str, content: bytes) -> None:
        if self._whole_puts:
            self._write(name, content)
            return
        # fsspec gives half a file its name where writing breaks off, so it gets another one first.
        part = f"{PARTS}/{_new_part()}"
        try:
            self._write(part, content)
            self._move(part, name)
        except BaseException:
            with contextlib.suppress(OSError, StoreError):
                self.delete(part)
            raise

    def put_file(self, name: str, file: Path) -> None:
        self.put(name, file.read_bytes())
        file.unlink()

    @_patient
    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.system.rm_file(self._path(name))

    @_patient
    def names(self, folder: str) -> list[str]:
        self.system.invalidate_cache()
        try:
            found = self.system.find(self._path(folder))
        except FileNotFoundError:
            return []
        return sorted(path.removeprefix(self.root).lstrip("/") for path in found)

    def parts(self) -> Path:
        return Path(self._parts.name)

    def old_parts(self, limit: float) -> list[str]:
        found = []
        for name in [] if self._whole_puts else self.names(PARTS):
            with contextlib.suppress(OSError, NotImplementedError):  # some systems know no times
                if self.system.modified(self._path(name)).timestamp() < limit:
                    found.append(name)
        return found

    @_patient
    def _write(self, name: str, content: bytes) -> None:
        self.system.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
        self.system.pipe_file(self._path(name), content)

    @_patient
    def _move(self, part: str, name: str) -> None:
        self.system.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
        try:
            self.system.mv(self._path(part), self._path(name))
        except FileNotFoundError:  # moved by a try that failed after it
            if not self.system.exists(self._path(name)):
                raise

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"


def _new_part() -> str:
    return f"{uuid.uuid4().hex}.part"


def is_part(name: str) -> bool:
    """Whether a file in `parts` has the name of an object that was being put, and not a clip's."""
    return re.fullmatch(r"[0-9a-f]{32}\.part", name) is not None


def clean(store: Store) -> None:
    """Deletes leftover parts older than a day; those of runs beside this one are younger."""
    limit = time.time() - OLD_SECONDS
    for path in store.parts().iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < limit:
                path.unlink()
    for name in store.old_parts(limit):
        store.delete(name)
