"""Addresses such as s3://bucket/folder, by fsspec and the package of their protocol, if installed."""

from typing import BinaryIO

from .patience import patient
from .places import check_address


def file_system(address: str):
    """The file system of an address, and the path in it; raises ValueError where none is installed."""
    check_address(address)
    try:
        import fsspec
    except ImportError as error:
        raise ValueError(
            f"{address} is an address, for which the package fsspec is missing: pip install fsspec, and the "
            "package of its protocol, such as s3fs."
        ) from error
    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:  # a protocol that is unknown, or whose package is missing
        raise ValueError(f"{address} can't be opened: {error}.") from error
    return system, path


@patient
def read(address: str, most: int) -> bytes:
    """Content of an address, of at most so many bytes; raises ValueError for more."""
    system, path = file_system(address)
    with system.open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{address} has over {most:,} bytes; no picture has as many.")
    return content


@patient
def opened(address: str) -> BinaryIO:
    """The file of an address, to read."""
    system, path = file_system(address)
    return system.open(path, "rb")


@patient
def is_folder(address: str) -> bool:
    """Whether there is a folder at an address."""
    system, path = file_system(address)
    return system.isdir(path)


@patient
def files_in(address: str) -> list[str]:
    """Addresses of the files in a folder, or of those that a pattern matches."""
    system, path = file_system(address)
    found = system.glob(path) if any(sign in path for sign in "*?[") else system.ls(path, detail=False)
    return [system.unstrip_protocol(name) for name in found]
