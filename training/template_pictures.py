"""The pictures of the example workflows, from real runs in ComfyUI: python -m training.template_pictures

Needs a ComfyUI, as the tests in tests/host do. Each template runs with its own values; those that need a file
are drawn by template_diagrams.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from . import photographs

ROOT = Path(__file__).parent.parent
SECOND_PICTURE = "chelsea.png"  # held out as well
WIDTH, HEIGHT, CELL = 512, 288, 128
SHOWN = {1: (0, 2, 4, 6, 8, 10, 12, 13), 2: (0, 4, 8, 13)}
"""Which frames are shown of one video, and of each of two."""


def main() -> None:
    """Runs the templates one after the other and writes a picture for each."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import graphs, host, host_pictures

    with tempfile.TemporaryDirectory() as folder:
        base = host.make_base(Path(folder))
        second = next(p for p in photographs.PHOTOGRAPHS if p.file == SECOND_PICTURE)
        Image.open(second.path).convert("RGB").save(base / "input" / SECOND_PICTURE)
        with host.Server(base) as server:
            for template in graphs.AT_ONCE:
                graph = graphs.of_template(template)
                loading = [node for node in graph.values() if node["class_type"] == "LoadImage"]
                for node in loading[1:]:
                    node["inputs"]["image"] = SECOND_PICTURE
                entry = server.run(graph)
                if not host.succeeded(entry):
                    raise RuntimeError(f"{template}: {host.error_of(entry)}")
                picture = sheet(host_pictures.videos_of(base, entry))
                picture.save(graphs.TEMPLATES / f"{template}.jpg", quality=88)


def sheet(clips: list[np.ndarray]) -> Image.Image:
    """Two rows of four frames on black: of one video, or one row of each of two."""
    cells = [clip[index] for clip in clips for index in SHOWN[len(clips)]]
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    top = (HEIGHT - 2 * CELL) // 2
    for index, cell in enumerate(cells):
        place = (index % 4 * CELL, top + index // 4 * CELL)
        picture.paste(Image.fromarray(cell).resize((CELL, CELL)), place)
    return picture


if __name__ == "__main__":
    main()
