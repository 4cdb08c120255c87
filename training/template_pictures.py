"""Moving pictures of the example workflows, from real runs in ComfyUI: python -m training.template_pictures

Needs a ComfyUI, like the tests in tests/host. Each template runs with its shipped values; template_diagrams
draws the pictures of templates that need a model file.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from . import photographs

ROOT = Path(__file__).parent.parent
SECOND_PICTURE = "chelsea.png"  # also held out
PAN = ("pan_start.png", "pan_end.png")
PANNED = 35  # pixels between two squares of the second picture, between which a clip goes
OF_ITS_OWN = {
    "3 Every knob": "chelsea.png",
    "7 Sampler in parts": "images/china.jpg",
    "22 Picture to video.app": "mpl-data/sample_data/grace_hopper.jpg",
}
"""Held-out photographs of templates whose clip would be that of the first one."""

WIDTH, HEIGHT, CELL = 384, 216, 192
MOST_FRAMES = 24
FRAMES_A_SECOND = 8
QUALITY = 40  # with it a picture of noise too stays below the 60 kB that a test allows


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
                own = _written(base, OF_ITS_OWN[template]) if template in OF_ITS_OWN else None
                for node, name in zip(loading, PAN if between else (own, SECOND_PICTURE), strict=False):
                    node["inputs"]["image"] = name or node["inputs"]["image"]
                entry = server.run(graph)
                if not host.succeeded(entry):
                    raise RuntimeError(f"{template}: {host.error_of(entry)}")
                still = Image.open(base / "input" / loading[0]["inputs"]["image"]).convert("RGB")
                save_moving(host_pictures.videos_of(base, entry), still, graphs.TEMPLATES / f"{template}.jpg")


def _written(base: Path, file: str) -> str:
    """Name in the host's input folder of a held-out photograph."""
    photograph = next(each for each in photographs.PHOTOGRAPHS if each.file == file)
    Image.open(photograph.path).convert("RGB").save(base / "input" / f"{photograph.name}.png")
    return f"{photograph.name}.png"


def save_moving(clips: list[np.ndarray], still: Image.Image, path: Path) -> None:
    """Writes a picture that moves: a clip beside its still, or two; browsers play WebP under any name."""
    count = min(MOST_FRAMES, max(map(len, clips)))
    frames = []
    for number in range(count):
        frame = Image.new("RGB", (WIDTH, HEIGHT))
        cells = [Image.fromarray(clip[number * len(clip) // count]) for clip in clips[:2]]
        for column, cell in enumerate(cells if len(cells) == 2 else [still, *cells]):
            square = ImageOps.fit(cell, (CELL, CELL))
            frame.paste(square, (column * CELL, (HEIGHT - CELL) // 2))
        frames.append(frame)
    options = {"quality": QUALITY, "duration": round(1000 / FRAMES_A_SECOND), "loop": 0}
    frames[0].save(path, format="WEBP", save_all=True, append_images=frames[1:], **options)


if __name__ == "__main__":
    main()
