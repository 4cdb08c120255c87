"""Views of a file under other names: each tensor is made of one or several tensors of the file."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial, reduce

import torch
from torch import Tensor

from ..sources import TensorFile


def unchanged(tensor: Tensor) -> Tensor:
    """Returns the tensor itself, for an origin that differs in its name alone."""
    return tensor


def stacked(*pieces: Tensor) -> Tensor:
    """Puts tensors of one shape one below another: n·(C, …) -> (n·C, …).

    torch.cat on meta would import torch's compiler, which takes longer than the header of a whole checkpoint.
    """
    first = pieces[0]
    if any(piece.shape != first.shape for piece in pieces):
        raise RuntimeError(f"the pieces have the shapes {[tuple(piece.shape) for piece in pieces]}")
    dtype = reduce(torch.promote_types, (piece.dtype for piece in pieces))
    shape = (len(pieces) * first.shape[0], *first.shape[1:])
    if first.is_meta:
        return torch.empty(shape, dtype=dtype, device="meta")
    return torch.cat(pieces)


@dataclass(frozen=True)
class Origin:
    """Tensors of a file, by name, and the function that makes one released tensor of them."""

    keys: tuple[str, ...]
    make: Callable[..., Tensor] = unchanged


def renamed(file: TensorFile, origins: Mapping[str, Origin]) -> TensorFile:
    """Gives a view of the file with each released name of `origins`; all other tensors keep their names.

    A released tensor is missing from the view where its origin is missing or of no fitting shapes. Tensors
    are made when they are read.
    """
    if not origins:
        return file
    found = {name: _shape_and_dtype(file, origin) for name, origin in origins.items()}
    released = {name: described for name, described in found.items() if described is not None}
    consumed = {key for name in released for key in origins[name].keys}
    shapes = {key: shape for key, shape in file.shapes.items() if key not in consumed}
    dtypes = {key: file.dtypes[key] for key in shapes}
    shapes |= {name: shape for name, (shape, _) in released.items()}
    dtypes |= {name: dtype for name, (_, dtype) in released.items()}

    paths = {key: path for key, path in file.paths.items() if key not in consumed}
    paths |= {
        name: file.paths[origins[name].keys[0]] for name in released if origins[name].keys[0] in file.paths
    }

    def read(key: str) -> Tensor:
        if key not in released:
            return file.read(key)
        origin = origins[key]
        return origin.make(*map(file.read, origin.keys))

    pieces = {key: file.pieces[key] for key in file.pieces.keys() & shapes.keys() - released.keys()}
    pieces |= {
        name: partial(_read_each, file, origins[name].keys)
        for name in released
        if origins[name].make is stacked
    }
    return replace(file, shapes=shapes, dtypes=dtypes, paths=paths, read=read, pieces=pieces)


def _read_each(file: TensorFile, keys: tuple[str, ...]) -> tuple[Tensor, ...]:
    return tuple(map(file.read, keys))


def prefix_of(shapes: Iterable[str], pattern: re.Pattern) -> str | None:
    """The prefix of a network: what stands before a pattern in the first key that has it, or None."""
    return next((key[: match.start()] for key in shapes if (match := pattern.search(key))), None)


def _shape_and_dtype(file: TensorFile, origin: Origin) -> tuple[tuple[int, ...], torch.dtype | str] | None:
    """The shape and dtype of a released tensor, found on meta; None where it can't be made."""
    if not all(key in file.shapes for key in origin.keys):
        return None
    dtypes = [file.dtypes[key] for key in origin.keys]
    unreadable = next((dtype for dtype in dtypes if isinstance(dtype, str)), None)
    if origin.make is unchanged:
        return file.shapes[origin.keys[0]], dtypes[0]
    try:
        tensors = [
            torch.empty(file.shapes[key], dtype=torch.uint8 if unreadable else dtype, device="meta")
            for key, dtype in zip(origin.keys, dtypes, strict=True)
        ]
        tensor = origin.make(*tensors)
    except (RuntimeError, IndexError, TypeError):  # torch's, for shapes that don't fit each other
        return None
    return tuple(tensor.shape), unreadable or tensor.dtype
