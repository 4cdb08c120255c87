"""The pictures that a graph wrote, and whether two lots are the same."""

from pathlib import Path

import numpy as np
from PIL import Image

from support import host


def frames_of(base: Path, entry: dict) -> np.ndarray:
    """The pictures that the graph's node "save" wrote, (N, H, W, 3)."""
    assert host.succeeded(entry), host.error_of(entry)
    saved = entry["outputs"]["save"]["images"]
    return np.stack([np.asarray(Image.open(base / "output" / file["filename"])) for file in saved])


def close(first: np.ndarray, second: np.ndarray) -> bool:
    """Equal up to one level of rounding."""
    return np.abs(first.astype(int) - second.astype(int)).max() <= 1
