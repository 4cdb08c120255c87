"""Pictures of the example workflows, from real runs in ComfyUI: python -m training.template_pictures

Needs a ComfyUI, like the tests in tests/host. Each template runs with its shipped values; template_diagrams
draws the pictures of templates that need a model file.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from . import photographs

ROOT = Path(__file__).parent.parent
SECOND_PICTURE = "chelsea.png"  # also held out
PAN = ("pan_start.png", "pan_end.png")
PANNED = 35  # pixels between two squares of the second picture, between which a clip goes
WIDTH, HEIGHT, CELL = 512, 288, 128
SHOWN = {1: (0, 2, 4, 6, 8, 10, 12, 13), 2: (0, 4, 8, 13)}
"""Frames shown of each video, keyed by the number of videos: places among 14, the length of most of them."""


def main() -> None:
    """Runs the templates one after another and writes a picture for each."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import graphs, host, host_pictures

    with tempfile.TemporaryDirectory() as folder:
        base = host.make_base(Path(folder))
        second = next(p for p in photographs.PHOTOGRAPHS if p.file == SECOND_PICTURE)
        photograph = Image.open(second.path).convert("RGB")
        photograph.save(base / "input" / SECOND_PICTURE)
        side = photograph.height
        for name, left in zip(PAN, (60, 60 + PANNED), strict=True):
            photograph.crop((left, 0, left + side, side)).save(base / "input" / name)
        with host.Server(base) as server:
            for template in graphs.AT_ONCE:
                graph = graphs.of_template(template)
                loading = [node for node in graph.values() if node["class_type"] == "LoadImage"]
                kinds = {node["class_type"] for node in graph.values()}
                between = len(loading) == 2 and "StillmotionFirstLastFrame" in kinds
                for node, name in zip(loading, PAN if between else (None, SECOND_PICTURE), strict=False):
                    node["inputs"]["image"] = name or node["inputs"]["image"]
                entry = server.run(graph)
                if not host.succeeded(entry):
                    raise RuntimeError(f"{template}: {host.error_of(entry)}")
                picture = sheet(host_pictures.videos_of(base, entry))
                picture.save(graphs.TEMPLATES / f"{template}.jpg", quality=88)


def sheet(clips: list[np.ndarray]) -> Image.Image:
    """Arranges frames in two rows of four on black: both rows from one video, or a row from each of two."""
    cells = [clip[round(place * (len(clip) - 1) / 13)] for clip in clips for place in SHOWN[len(clips)]]
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    top = (HEIGHT - 2 * CELL) // 2
    for index, cell in enumerate(cells):
        place = (index % 4 * CELL, top + index // 4 * CELL)
        picture.paste(Image.fromarray(cell).resize((CELL, CELL)), place)
    return picture


if __name__ == "__main__":
    main()
