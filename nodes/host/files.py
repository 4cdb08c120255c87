"""Checkpoint files in the host's folders, and the built-in one."""

import functools
import os

import folder_paths

from ... import builtin_model
from ...svd_model.checkpoint import Checkpoint, is_svd

_FOLDER = "checkpoints"


def open_checkpoint(name: str) -> Checkpoint:
    """Opens a checkpoint by its name in the host's folders, or the built-in one."""
    if name == builtin_model.NAME:
        return builtin_model.load()
    return Checkpoint.open(folder_paths.get_full_path_or_raise(_FOLDER, name))


def checkpoint_names() -> list[str]:
    """Lists SVD files, the built-in model, then all other files, whose names saved workflows may hold."""
    names = folder_paths.get_filename_list(_FOLDER)
    svd = dict.fromkeys(filter(_can_be_opened, names))  # a set in the order of the names
    others = [name for name in names if name not in svd]
    return [*svd, builtin_model.NAME, *others]


def _can_be_opened(name: str) -> bool:
    path = folder_paths.get_full_path(_FOLDER, name)
    try:
        status = os.stat(path)
    except (OSError, TypeError):  # it has gone since the folder was listed: there is no path
        return False
    return _is_svd(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4096)
def _is_svd(path: str, modified: int, size: int) -> bool:
    """Looks at a file once until it changes: the host asks whenever it lists or runs a node."""
    return is_svd(path)
