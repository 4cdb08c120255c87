"""Pictures and videos that a graph wrote, and their comparison."""

from pathlib import Path

import av
import numpy as np
from PIL import Image

from support import host


def frames_of(base: Path, entry: dict) -> np.ndarray:
    """Reads the pictures that the node "save" wrote, (N, H, W, 3)."""
    assert host.succeeded(entry), host.error_of(entry)
    saved = entry["outputs"]["save"]["images"]
    return np.stack([np.asarray(Image.open(base / "output" / file["filename"])) for file in saved])


def videos_of(base: Path, entry: dict) -> list[np.ndarray]:
    """Reads the videos that SaveVideo nodes wrote, in the order of the nodes: (T, H, W, 3) each."""
    videos = []
    for _, output in sorted(entry["outputs"].items(), key=lambda item: int(item[0])):
        for file in output.get("images", []):
            if file["filename"].endswith("mp4"):
                with av.open(str(base / "output" / file["subfolder"] / file["filename"])) as video:
                    videos.append(np.stack([f.to_ndarray(format="rgb24") for f in video.decode(video=0)]))
    return videos


def close(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether pictures are equal up to one level of rounding."""
    return np.abs(first.astype(int) - second.astype(int)).max() <= 1
