"""Layouts of checkpoint files, and views of them under the released names."""

from collections.abc import Callable
from dataclasses import dataclass

from ..sources import TensorFile
from . import transformers


@dataclass(frozen=True)
class Layout:
    """A way to name tensors: how it is recognised, and how its tensors get the released names."""

    recognise: Callable[[TensorFile], bool]
    to_released_names: Callable[[TensorFile], TensorFile]


LAYOUTS = (
    # Wrappers of whole files before the names inside: each layout sees the view of the one before.
    Layout(transformers.recognise, transformers.to_released_names),
)
"""All layouts but the released one."""


def with_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file under the released names, or the file itself where it has them."""
    for layout in LAYOUTS:
        if layout.recognise(file):
            file = layout.to_released_names(file)
    return file
