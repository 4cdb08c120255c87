"""Files of named tensors: safetensors, memory-mapped, and old .ckpt/.pt by torch's weights-only reader."""

import json
import pickle
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

PICKLE_SUFFIXES = {".ckpt", ".pt", ".pth", ".bin"}

_SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


def other_than_floats(dtype: torch.dtype | str) -> str | None:
    """Words for numbers that are no floats torch has, as in "int8 numbers"; None for floats."""
    if isinstance(dtype, torch.dtype) and dtype.is_floating_point:
        return None
    return f"{str(dtype).removeprefix('torch.')} numbers"


_OTHER_CONTENTS = (
    # First bytes of files that were saved under the wrong name, or not downloaded.
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: fetch it with 'git lfs pull'"),
    (b"<", "a web page: the download was refused or needs a login; download the file again"),
    (b"GGUF", "a GGUF file; Stillmotion reads .safetensors"),
    (b"PK\x03\x04", "a zip archive, as torch.save writes: rename it to .ckpt if it is an old checkpoint"),
    (b"\x80", "a Python pickle: rename it to .ckpt if it is an old checkpoint"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"RIFF", "a picture or video"),
)


_AGAIN = "download it again."

_STATES = ("state_dict", "module", "model", "model_state_dict")
"""Keys under which trainers save the tensors, beside their own state."""


class CheckpointError(ValueError):
    """A file that can't be used as a checkpoint; the message says what it is and what to do."""


class AnotherFileWanted(CheckpointError):
    """A file that only another one can replace; `found` says what it is, without the remedy."""

    def __init__(self, found: str, remedy: str | None = None):
        super().__init__(f"{found}; {remedy}" if remedy else f"{found}.")
        self.found = found


@dataclass(frozen=True)
class TensorFile:
    """Names, shapes and dtypes of the tensors in a file; `read` gives each tensor on demand.

    Tensors of a safetensors file are views of the mapped file, not copies. A view of a file under other names
    may have a tensor in pieces: `read` copies them into one, `read_pieces` gives each.
    """

    path: Path
    size: int  # in bytes
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, torch.dtype | str]  # a str where torch has no such dtype
    metadata: Mapping[str, str]
    read: Callable[[str], Tensor]
    paths: Mapping[str, Path] = field(default_factory=dict)  # of the tensors that lie in another file
    # Functions that read the pieces of a tensor, for those that lie apart.
    pieces: Mapping[str, Callable[[], tuple[Tensor, ...]]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | Path) -> "TensorFile":
        """Reads the header alone; raises CheckpointError for a file that is not whole or holds no tensors."""
        path = Path(path)
        size = _size(path)
        if path.suffix.lower() in PICKLE_SUFFIXES:
            file = cls.of_tensors(path, _read_pickle(path), size=size)
        else:
            file = _open_safetensors(path, size)
        if not file.shapes:
            raise AnotherFileWanted(f"{path} holds no tensors", "choose an SVD checkpoint (.safetensors).")
        return file

    @classmethod
    def of_tensors(
        cls, path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str] | None = None, size: int = 0
    ) -> "TensorFile":
        """Wraps tensors in memory as a file; the path is their name in messages."""
        return cls(
            path=path,
            size=size or sum(tensor.nbytes for tensor in tensors.values()),
            shapes={key: tuple(tensor.shape) for key, tensor in tensors.items()},
            dtypes={key: tensor.dtype for key, tensor in tensors.items()},
            metadata=metadata or {},
            read=tensors.__getitem__,
        )

    def json_metadata(self, key: str) -> dict:
        """Reads a JSON object in the metadata; {} where it is absent or another value."""
        try:
            value = json.loads(self.metadata.get(key, "{}"))
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def read_pieces(self, key: str) -> tuple[Tensor, ...]:
        """Gives the pieces of one shape, one below another, that make up a tensor; most have one."""
        return self.pieces[key]() if key in self.pieces else (self.read(key),)

    def path_of(self, key: str) -> Path:
        """The file in which a tensor lies."""
        return self.paths.get(key, self.path)

    def all_paths(self) -> tuple[Path, ...]:
        """All files with tensors of this one, in the order of the tensors."""
        return tuple(dict.fromkeys(map(self.path_of, self.shapes)))

    def having(self, keys: Collection[str]) -> "TensorFile":
        """A view of the file with the tensors of some keys alone."""
        kept = {key: shape for key, shape in self.shapes.items() if key in keys}
        return replace(
            self,
            shapes=kept,
            dtypes={key: self.dtypes[key] for key in kept},
            paths={key: path for key, path in self.paths.items() if key in kept},
        )

    def without(self, keys: Collection[str]) -> "TensorFile":
        """A view of the file without the tensors of some keys; the file itself where it has none of them."""
        kept = [key for key in self.shapes if key not in keys]
        return self if len(kept) == len(self.shapes) else self.having(frozenset(kept))


def joined(path: Path, files: Sequence[TensorFile], metadata: Mapping[str, str] | None = None) -> TensorFile:
    """One view of the tensors of several files; a tensor of two of them is the first one's."""
    owners: dict[str, TensorFile] = {}
    for file in files:
        for key in file.shapes:
            owners.setdefault(key, file)
    sizes = {file.path: file.size for file in files}
    return TensorFile(
        path=path,
        size=sum(sizes.values()),
        shapes={key: file.shapes[key] for key, file in owners.items()},
        dtypes={key: file.dtypes[key] for key, file in owners.items()},
        metadata=metadata or {},
        read=lambda key: owners[key].read(key),
        paths={key: file.path_of(key) for key, file in owners.items()},
        pieces={key: file.pieces[key] for key, file in owners.items() if key in file.pieces},
    )


def _open_safetensors(path: Path, size: int) -> TensorFile:
    """Checks with safe_open that header and data fit together; tensors are views of a mapping made here.

    Tensors of safe_open are views too, but it reads the first byte of each and so waits for the disk once a
    tensor: more than 3 of the 4 seconds that loading a cold svd_xt took.
    """
    try:
        file = safe_open(path, framework="pt", device="cpu")
    except SafetensorError as error:
        raise AnotherFileWanted(*_not_safetensors(path, error)) from error
    header, begin = _header(path)
    entries = {key: header[key] for key in file.keys()}  # noqa: SIM118 (not a dict)
    dtypes = {key: _SAFETENSORS_DTYPES.get(entry["dtype"], entry["dtype"]) for key, entry in entries.items()}
    content = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)

    def read(key: str) -> Tensor:
        """Gives a view, or a copy of a tensor at an address that its dtype can't have."""
        dtype = dtypes[key]
        if isinstance(dtype, str):
            return file.get_tensor(key)
        start, end = (begin + offset for offset in entries[key]["data_offsets"])
        part = content[start:end]
        return (part if start % dtype.itemsize == 0 else part.clone()).view(dtype).view(entries[key]["shape"])

    return TensorFile(
        path=path,
        size=size,
        shapes={key: tuple(entry["shape"]) for key, entry in entries.items()},
        dtypes=dtypes,
        metadata=file.metadata() or {},
        read=read,
    )


def _size(path: Path) -> int:
    try:
        exists = path.exists()
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}.") from error
    if not exists:
        raise AnotherFileWanted(
            f"there is no file {path}", "give the path of an SVD checkpoint (.safetensors)."
        )
    if not path.is_file() and not path.is_dir():
        raise AnotherFileWanted(
            f"{path} is a device or pipe, not a file", "give the path of an SVD checkpoint."
        )
    if not path.is_file():
        raise AnotherFileWanted(f"{path} is a folder", "give a file in it.")
    try:
        with path.open("rb"):
            size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}.") from error
    if size == 0:
        raise AnotherFileWanted(f"{path} is empty (0 bytes)", _AGAIN)
    return size


def _not_safetensors(path: Path, error: SafetensorError) -> tuple[str, str | None]:
    """Describes the file, and the remedy."""
    other = _other_content(path)
    if other:
        return f"{path} is {other}", None
    reason = str(error)
    if "incomplete" in reason.lower() and "metadata" in reason.lower():  # and not of a letter's bytes
        if _described_size(path) < path.stat().st_size:
            return f"{path} holds more data than its header describes: it is damaged", _AGAIN
        size = path.stat().st_size
        return f"{path} is cut short: its header describes more data than its {size:,} bytes hold", _AGAIN
    return f"{path} is no safetensors file, or its header is damaged ({reason})", _AGAIN


def _other_content(path: Path) -> str | None:
    """Describes a file by its first bytes; None where it begins as a safetensors file or is unknown."""
    with path.open("rb") as file:
        start = file.read(64)
    if start[8:9] == b"{":  # a header's length comes first, and may begin with any byte
        return None
    return next((what for magic, what in _OTHER_CONTENTS if start.startswith(magic)), None)


def _header(path: Path) -> tuple[dict, int]:
    """Reads the header of a safetensors file, and where the data begin."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length)), 8 + length


def _described_size(path: Path) -> int:
    header, begin = _header(path)
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    return begin + max(ends, default=0)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a torch.save file; executes nothing in it."""
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":
        raise CheckpointError(f"{path} is a safetensors file: rename it to .safetensors.")
    other = _other_content(path)
    if other and not start.startswith((b"PK", b"\x80")):
        raise AnotherFileWanted(f"{path} is {other}")
    try:
        content = _torch_load(path)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors, or is damaged. Reading that could run code, so it is refused: "
            "convert the file to .safetensors where you trust it."
        ) from error
    except Exception as error:
        # Not torch's own words: they advise to switch the safe reading off.
        raise AnotherFileWanted(f"{path} is no torch checkpoint, or is damaged", _AGAIN) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not named tensors.")
    return _named_tensors(content)


def _named_tensors(content: Mapping, depth: int = 3) -> dict[str, Tensor]:
    """Tensors of a dictionary of a trainer, at its top or in the dictionary that holds the state.

    Several dictionaries with other names, such as of CameraCtrl, are parts of the names.
    """
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    found = {key: value for key, value in named.items() if isinstance(value, Tensor)}
    inner = {key: value for key, value in named.items() if isinstance(value, dict)}
    if len(found) > 1 or depth == 0:
        return found
    for key in _STATES:
        if key in inner and (state := _named_tensors(inner[key], depth - 1)):
            return state
    for key, value in inner.items():
        found |= {f"{key}.{name}": tensor for name, tensor in _named_tensors(value, depth - 1).items()}
    return found


def _torch_load(path: Path):
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    # Files from before torch 1.6 are no zip archives and can't be mapped.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
