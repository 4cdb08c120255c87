"""MODEL with ExVideo's temporal blocks, from a file in the host's folder of diffusion models."""

from pathlib import Path

from ...svd_model.adapters import exvideo
from ...svd_model.checkpoint import Checkpoint, Places
from .files import path_of
from .model import load_model


def load_exvideo(checkpoint: Checkpoint, name: str) -> tuple:
    """The MODEL of a checkpoint with the temporal blocks of a file, and this changed checkpoint."""
    path = Path(path_of("exvideo", name))
    changed = exvideo.opened(checkpoint, path)
    patcher = load_model(changed)
    patcher.cached_patcher_init = (_load_again, (checkpoint.places, path))
    return patcher, changed


def _load_again(places: Places, blocks: Path, disable_dynamic: bool = False):
    """Loads the MODEL again, for the host's reasons in model.py."""
    return load_model(exvideo.opened(Checkpoint.at(places), blocks), disable_dynamic)
