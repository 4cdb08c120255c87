"""Places that the user names, here and at addresses; a manifest names nothing outside of them."""

import os
import re
from collections.abc import Sequence
from urllib.parse import unquote

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


def is_address(name: str) -> bool:
    """Whether a name is an address such as s3://bucket/a.png, and no path of this machine."""
    return bool(_ADDRESS.match(name)) or "::" in name


def check_address(address: str) -> None:
    """Raises ValueError for an address that holds a secret, which would land in records, or chains others."""
    match = _ADDRESS.fullmatch(address)
    shown = f"{match[1]}://…" if match else "the address"
    if match is None or "::" in address:
        raise ValueError(f"{shown} chains several addresses; give one, such as s3://bucket/folder.")
    if holds_secret(address):
        raise ValueError(
            f"{shown} holds a user, a password or a query, which would land in records; put credentials "
            "where the store's own tools have them, and give the plain address."
        )
    if match[1] in ("file", "local"):
        raise ValueError(f"{address} is a file of this machine; give its path.")
    if ".." in unquote(match[2]).split("/"):  # as the packages of some protocols read it
        raise ValueError(f"{address} goes up by ..; write where it leads.")


def holds_secret(address: str) -> bool:
    """Whether an address has a user, a password or a query in it."""
    place = address.partition("://")[2]
    return "@" in place.partition("/")[0] or "?" in place


_MOST_FOLDERS = 10_000


class Roots:
    """Folders that the user named; a relative name lies in the first of them."""

    def __init__(self, base: str, further: Sequence[str] = ()):
        for name in further:
            if is_address(name):
                check_address(name)
            elif not os.path.isdir(name):
                raise ValueError(f"--pictures {name} is no folder; name the one in which the pictures lie.")
        self._base = base
        self._real_folders: dict[str, str] = {}
        named = (base or os.curdir, *further)
        self._addresses = [name.rstrip("/") + "/" for name in named if is_address(name)]
        self._folders = [os.path.join(os.path.realpath(name), "") for name in named if not is_address(name)]

    def _real(self, path: str) -> str:
        """A path without links; those of its folder are followed once for all rows."""
        folder, name = os.path.split(path)
        if name in ("", os.curdir, os.pardir) or os.path.islink(path):
            return os.path.realpath(path)
        if folder not in self._real_folders:
            if len(self._real_folders) >= _MOST_FOLDERS:
                self._real_folders.clear()
            self._real_folders[folder] = os.path.join(os.path.realpath(folder), "")
        return self._real_folders[folder] + name

    def place(self, image: str) -> str:
        """Where a picture lies; raises ValueError for a place in none of the folders."""
        if is_address(image):
            check_address(image)
            place = image
        elif is_address(self._base) and not os.path.isabs(image):
            place = f"{self._base.rstrip('/')}/{image}"
            check_address(place)
        else:
            place = self._real(os.path.join(self._base, image))
            if place.startswith(tuple(self._folders)):
                return place
        if is_address(place) and place.startswith(tuple(self._addresses)):
            return place
        raise ValueError(
            f"{image} lies in none of the folders that the command names; move it beside the manifest, or "
            "name its folder with --pictures."
        )


def identity(place: str) -> str:
    """The place of a picture, and of a file its size and time, which change with its content.

    Raises OSError for a missing file.
    """
    if is_address(place):
        return place
    state = os.stat(place)
    return f"{place}\0{state.st_size}\0{state.st_mtime_ns}"
