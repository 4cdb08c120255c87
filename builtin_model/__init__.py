"""A small trained model of SVD's architecture that comes with the pack, for a first try and for tests.

training/ made it; builtin_model/MODEL_CARD.md says from what, what it is for and what it can't do.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ..svd_model.checkpoint.official_files import OFFICIAL_FILES

if TYPE_CHECKING:
    from ..svd_model.checkpoint import Checkpoint

NAME = "stillmotion-tiny (built in)"
PATH = Path(__file__).parent / "stillmotion_tiny.safetensors"
NOTICE = (
    "The built-in model is a small one for a first try: a camera that pans over a soft version of the "
    "picture, 14 frames of 128×128. For real clips give an SVD file. " + OFFICIAL_FILES
)


def load() -> "Checkpoint":
    """The built-in checkpoint, read like any other file of the released layout."""
    from ..svd_model.checkpoint import Checkpoint  # here, so that the name can be known without torch

    return Checkpoint.open(PATH)
