"""Sources of a batch: a picture, a folder, a glob or manifests, here or at an address."""

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..files.sources import EXTENSIONS, existing, pictures_in
from . import manifests, remote
from .places import Roots, check_address, is_address
from .rows import Row
from .texts import Sweep, swept

_SIGNS = "*?["


@dataclass(frozen=True)
class Source:
    """Pictures, or manifests, that the user named, in order."""

    names: Sequence[str]
    are_manifests: bool
    folders: Sequence[str] = ()  # in which the rows of manifests may name pictures, beside their own
    sweeps: Sequence[Sweep] = ()

    def rows(self) -> Iterator[Row]:
        """Yields the rows, each once for every combination of the sweeps."""
        for row in self._rows():
            yield from swept(row, self.sweeps)

    def count(self) -> int:
        """Number of rows, by reading the manifests once."""
        number = sum(map(manifests.count, self.names)) if self.are_manifests else len(self.names)
        for sweep in self.sweeps:
            number *= len(sweep.values)
        return number

    def _rows(self) -> Iterator[Row]:
        if not self.are_manifests:
            for name in self.names:
                yield Row(name, name, name if is_address(name) else os.path.realpath(name))
            return
        for name in self.names:
            roots = Roots(os.path.dirname(name), self.folders)
            for row in manifests.rows_of(name):
                yield _placed(row, roots)


def find_source(name: str, folders: Sequence[str] = (), sweeps: Sequence[Sweep] = ()) -> Source:
    """The source of a name; raises ValueError for what is none, and for a table with wrong columns."""
    if is_address(name):
        names = _at_address(name)
    elif not os.path.exists(name) and any(sign in name for sign in _SIGNS):
        names = sorted(path for path in glob.iglob(name, recursive=True) if os.path.isfile(path))
        names = _one_kind(name, names)
    elif os.path.isdir(existing(name)):
        names = _in_folder(name)
    else:
        names = [name]
    are_manifests = _is_manifest(names[0])
    if folders and not are_manifests:
        raise ValueError("--pictures goes with a manifest, whose rows name pictures; leave it out.")
    source = Source(names, are_manifests, folders, sweeps)
    if are_manifests:
        for manifest in names:
            Roots(os.path.dirname(manifest), folders)
            manifests.check(manifest)
    return source


def _placed(row: Row, roots: Roots) -> Row:
    if row.fault:
        return row
    try:
        place = roots.place(row.image)
        return Row(row.id, row.image, place, row.sha256, row.settings, line=row.line)
    except ValueError as error:
        if is_address(row.image):  # which may hold a secret, and goes into no record
            return Row(row.line, fault=f"{row.line}: {error}")
        return replace(row, fault=f"{row.id}: {error}")


def _is_manifest(name: str) -> bool:
    return Path(name).suffix.lower() in manifests.EXTENSIONS


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in EXTENSIONS and not Path(name).name.startswith(".")


def _in_folder(name: str) -> list[str]:
    inside = sorted(entry.path for entry in os.scandir(name) if _is_manifest(entry.name) and entry.is_file())
    if inside and not any(_is_picture(entry.name) for entry in os.scandir(name)):
        return inside
    if inside:
        raise ValueError(
            f"{name} holds pictures and manifests; name one of them, or a glob such as '*.jsonl'."
        )
    return list(map(str, pictures_in(Path(name))))


def _at_address(name: str) -> list[str]:
    check_address(name)
    single = not any(sign in name for sign in _SIGNS)
    if single and not remote.is_folder(name):
        return [name]
    return _one_kind(name, sorted(remote.files_in(name)))


def _one_kind(name: str, found: Sequence[str]) -> list[str]:
    """The pictures, or the manifests, among some names; raises ValueError for none, and for both."""
    kinds: tuple[Callable[[str], bool], ...] = (_is_picture, _is_manifest)
    chosen = [[path for path in found if kind(path)] for kind in kinds]
    if not any(chosen):
        raise ValueError(f"{name} names no picture and no manifest ({', '.join(manifests.EXTENSIONS)}).")
    if all(chosen):
        raise ValueError(f"{name} names pictures and manifests; name one kind, as in '*.png'.")
    return chosen[0] or chosen[1]
