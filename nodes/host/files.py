"""Files in the host's folders: checkpoints, with the built-in one, their parts, and what changes them.

Folders in diffusers' layout are named with a slash at the end.
"""

import functools
import os

import folder_paths

from ... import builtin_model
from ...svd_model.checkpoint import MODEL_INDEX, NETWORKS, Checkpoint, is_svd

FOLDERS = {
    "unet": "diffusion_models",
    "vae": "vae",
    "image_encoder": "clip_vision",
    "exvideo": "diffusion_models",
    "lora": "loras",
    "control_net": "controlnet",
}
"""The host's folders by the inputs that choose a file in them."""

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
    paths = {part: path_of(part, name) for part, name in names.items()}
    return Checkpoint.open(paths.pop("unet"), **paths)


def file_names(chosen: str) -> list[str]:
    """Lists the files among which an input of FOLDERS chooses."""
    return folder_paths.get_filename_list(FOLDERS[chosen])


def path_of(chosen: str, name: str) -> str:
    """The path of a file by its name in the list of `file_names`."""
    return folder_paths.get_full_path_or_raise(FOLDERS[chosen], name)


def checkpoint_names() -> list[str]:
    """Lists SVD files and models, the built-in one, then other files, which saved workflows may name."""
    names = folder_paths.get_filename_list(_FOLDER)
    svd = dict.fromkeys(filter(_can_be_opened, names))  # a set in the order of the names
    others = [name for name in names if name not in svd]
    return [*svd, *_models(), builtin_model.NAME, *others]


def _models() -> dict[str, str]:
    """Folders in diffusers' layout that have a video UNet, by their names, which end with a slash."""
    found, listed = {}, _MODELS in folder_paths.folder_names_and_paths
    for root in folder_paths.get_folder_paths(_MODELS) if listed else []:
        for folder, inner, files in os.walk(root, followlinks=True):
            inside = os.path.relpath(folder, root)
            if inside.count(os.sep) + 1 >= _DEEPEST:
                inner.clear()
            if MODEL_INDEX in files and _is_svd(folder, _stamp(folder)):
                inner.clear()
                found.setdefault(inside.replace(os.sep, "/") + "/", folder)
    return dict(sorted(found.items()))


def _model_folder(name: str) -> str:
    """The path of a model; raises ValueError for a name that is not listed."""
    folder = _models().get(name)
    if folder is None:
        raise ValueError(f"there is no model {name!r} in models/{_MODELS}; choose another checkpoint.")
    return folder


def _can_be_opened(name: str) -> bool:
    path = folder_paths.get_full_path(_FOLDER, name)
    try:
        return _is_svd(path, _stamp(path))
    except (OSError, TypeError):  # it has gone since the folder was listed: there is no path
        return False


def _stamp(path: str) -> tuple:
    """Times of change and sizes of a file, or of a model's folder and of the folders of its networks."""
    places = (path, *(os.path.join(path, name) for name in NETWORKS))
    states = [os.stat(place) for place in places if place == path or os.path.isdir(place)]
    return tuple((state.st_mtime_ns, state.st_size) for state in states)


@functools.lru_cache(maxsize=4096)
def _is_svd(path: str, stamp: tuple) -> bool:
    """Looks at a file or a model once until it changes: the host asks whenever it lists or runs a node."""
    return is_svd(path)
