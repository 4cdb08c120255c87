"""Names that trainers and compilers put around the names of a model."""

from ..sources import TensorFile
from .origins import Origin, renamed

_EVERYWHERE = ("_orig_mod.", "_forward_module.")
"""Modules of torch.compile and DeepSpeed, which stand anywhere in a name."""

_AROUND = "module."
"""The module of data-parallel training, which stands before each name."""


def with_plain_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file without what trainers and compilers put around names.

    A name that is there already stays the other tensor's. A file with plain names is given back.
    """
    around = _is_around(file)
    origins: dict[str, Origin] = {}
    for key in file.shapes:
        name = _unwrapped(key, around)
        if name != key and name not in file.shapes:
            origins.setdefault(name, Origin((key,)))
    return renamed(file, origins)


def _is_around(file: TensorFile) -> bool:
    """Whether data-parallel training wraps all names."""
    return all(_unwrapped(key, False).startswith(_AROUND) for key in file.shapes)


def _unwrapped(key: str, around: bool) -> str:
    for wrapper in _EVERYWHERE:
        if wrapper in key:
            key = ".".join(part for part in key.split(".") if part + "." != wrapper)
    return key.removeprefix(_AROUND) if around else key
