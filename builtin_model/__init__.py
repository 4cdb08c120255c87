"""A small trained model of SVD's architecture that comes with the pack, for a first try and for tests.

training/ made it. builtin_model/MODEL_CARD.md gives its sources, its purpose and its limits.
"""

from pathlib import Path

from ..svd_model.checkpoint import Checkpoint
from ..svd_model.checkpoint.official_files import OFFICIAL_FILES

NAME = "stillmotion-tiny (built in)"
PATH = Path(__file__).parent / "stillmotion_tiny.safetensors"
NOTICE = (
    "The built-in model is a small one for a first try: a camera that pans over a soft version of the "
    "picture, 14 frames of 128×128. For real clips give an SVD file. " + OFFICIAL_FILES
)


def load() -> Checkpoint:
    """Opens the built-in checkpoint, a file of the released layout."""
    return Checkpoint.open(PATH)
