"""Checkpoints in the host's folders, and the built-in one.

Folders in diffusers' layout are named with a slash at the end.
"""

import functools
import os

import folder_paths

from ... import builtin_model
from ...svd_model.checkpoint import MODEL_INDEX, Checkpoint, is_svd

PART_FOLDERS = {"unet": "diffusion_models", "vae": "vae", "image_encoder": "clip_vision"}
"""The host's folders of the parts of a checkpoint."""

_FOLDER, _MODELS = "checkpoints", "diffusers"
_DEEPEST = 3  # levels of folders in which models are looked for


def open_checkpoint(name: str) -> Checkpoint:
    """Opens a checkpoint by its name in the host's folders, or the built-in one."""
    if name == builtin_model.NAME:
        return builtin_model.load()
    if name.endswith("/"):
        return Checkpoint.open(_model_folder(name))
    return Checkpoint.open(folder_paths.get_full_path_or_raise(_FOLDER, name))


def open_parts(**names: str) -> Checkpoint:
    """Opens a checkpoint of a UNet, a VAE and an image tower, by their names in the host's folders."""
    paths = {
        part: folder_paths.get_full_path_or_raise(PART_FOLDERS[part], name) for part, name in names.items()
    }
    return Checkpoint.open(paths.pop("unet"), **paths)


def part_names(part: str) -> list[str]:
    """Lists files that may have a part of a checkpoint."""
    return folder_paths.get_filename_list(PART_FOLDERS[part])


def checkpoint_names() -> list[str]:
    """Lists SVD files and models, the built-in one, then other files, which saved workflows may name."""
    names = folder_paths.get_filename_list(_FOLDER)
    svd = dict.fromkeys(filter(_can_be_opened, names))  # a set in the order of the names
    others = [name for name in names if name not in svd]
    return [*svd, *_model_names(), builtin_model.NAME, *others]


def _model_names() -> list[str]:
    """Folders in diffusers' layout that have a video UNet, with a slash at the end."""
    found = []
    for root in _model_roots():
        for folder, inner, files in os.walk(root):
            inside = os.path.relpath(folder, root)
            if inside.count(os.sep) + 1 >= _DEEPEST:
                inner.clear()
            if MODEL_INDEX in files and _is_svd_model(folder, os.stat(folder).st_mtime_ns):
                inner.clear()
                found.append(inside.replace(os.sep, "/") + "/")
    return sorted(set(found))


def _model_roots() -> list[str]:
    return folder_paths.get_folder_paths(_MODELS) if _MODELS in folder_paths.folder_names_and_paths else []


def _model_folder(name: str) -> str:
    """The path of a model; raises ValueError for a name that is not listed."""
    if name in _model_names():
        for root in _model_roots():
            folder = os.path.join(root, name)
            if os.path.isdir(folder):
                return folder
    raise ValueError(f"there is no model {name!r} in models/{_MODELS}; choose another checkpoint.")


@functools.lru_cache(maxsize=4096)
def _is_svd_model(folder: str, modified: int) -> bool:
    return is_svd(folder)


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
