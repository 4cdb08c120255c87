"""MODEL with ExVideo's temporal blocks, from a file in the host's folder of diffusion models."""

from pathlib import Path

from ...svd_model.adapters import exvideo
from ...svd_model.checkpoint import Checkpoint
from .files import path_of
from .model import load_model


def load_exvideo(checkpoint: Checkpoint, name: str) -> tuple:
    """The MODEL of a checkpoint with the temporal blocks of a file, and this changed checkpoint."""
    path = Path(path_of("exvideo", name))

    def reopen() -> Checkpoint:
        return exvideo.opened(Checkpoint.at(checkpoint.places), path)

    changed = exvideo.opened(checkpoint, path)
    return load_model(changed, reopen), changed
