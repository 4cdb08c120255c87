"""Moving pictures of the help pages, by the built-in model: python -m training.help_pictures [NAME …]

Writes web/docs/pictures/NAME.webp for each page named, or for all. The page caches a picture for a day, so
one that changes should get another name.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stillmotion import builtin_model
from stillmotion.clips.settings import Settings
from stillmotion.headless.pipeline import Pipeline

from . import photographs

FOLDER = Path(__file__).parent.parent / "web" / "docs" / "pictures"
CELL, GAP, LINE = 176, 4, 20
QUALITY, MOST_BYTES = 70, 200_000
PHOTOGRAPH, SQUARES = "chelsea.png", (60, 95)
"""A held-out photograph, and how far from its left the squares begin that a clip begins with and ends on."""
QUICK = {"schedule": "align_your_steps"}

AREA = [[0.45, 0.15], [0.95, 0.15], [0.95, 0.6], [0.45, 0.6]]
DRAG = {"regions": [{"polygon": AREA, "path": [{"x": 0.7, "y": 0.4}, {"x": 0.55, "y": 0.6}]}]}
FREEZE = {"regions": [{"kind": "freeze", "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}]}

Clips = dict[str, dict]
"""Settings of clips, and the motion that they follow, by the words below them."""
PAGES: dict[str, Clips] = {
    "motion": {f"motion {bucket}": {"motion_bucket_id": bucket} for bucket in (30, 127, 255)},
    "noise": {f"noise {noise:g}": {"noise_aug": noise} for noise in (0.0, 0.02, 0.3)},
    "seeds": {f"seed {seed}": {"seed": seed} for seed in (0, 1, 2)},
    "steps": {f"{steps} steps": {"schedule": "karras", "steps": steps} for steps in (3, 8, 25)},
    "guidance": {
        "constant 1": {"guidance": "constant", "max_guidance": 1.0},
        "linear 1 to 3": {"guidance": "linear", "min_guidance": 1.0, "max_guidance": 3.0},
        "constant 6": {"guidance": "constant", "max_guidance": 6.0},
    },
    "schedules": {
        "karras, 10 steps": {"schedule": "karras", "steps": 10},
        "exponential, 10": {"schedule": "exponential", "steps": 10},
        "align_your_steps": QUICK,
    },
    "solvers": {
        name: {"schedule": "karras", "steps": 8, "sampler": name} for name in ("euler", "dpmpp_2m", "heun")
    },
    "decoders": {"whole video": {}, "frame by frame": {"frame_wise_decode": True}},
    "long": {name: {"num_frames": 28, "long": name, **QUICK} for name in ("chain", "windows", "freenoise")},
    "ends": {
        "to a second picture": {"between": "vibid"},
        "loop pinned": {"loop": "pinned"},
        "loop shift": {"loop": "shift"},
    },
    "between": {name: {"between": name} for name in ("mpd", "vibid", "trf")},
    "cache": {f"every {every}": {"feature_cache": every} for every in (1, 3, 6)},
    "attention": {f"sharpness {value:g}": {"temporal_sharpness": value} for value in (0.6, 1.0, 1.5)},
    "skip": {"plain": {}, "skip 2 and 0.5": {"skip_guidance": (2.0, 0.5), "guidance_rescale": 0.7}},
    "amounts": {f"motion {amount}": {"motion_amount": amount} for amount in ("still", "usual", "most")},
    "moves": {name: {"motion": name} for name in ("pan left", "zoom in", "roll right")},
    "drag": {
        "the picture's own motion": {},
        "dragged": {"motion": DRAG},
        "its left half frozen": {"motion": FREEZE},
    },
}


def main() -> None:
    """Writes the pictures that are named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PAGES)}")
    names = parser.parse_args().names or list(PAGES)
    if unknown := set(names) - set(PAGES):
        parser.error(f"no picture is called {', '.join(sorted(unknown))}; there are {', '.join(PAGES)}.")
    pipeline = Pipeline.open(builtin_model.PATH, device="cpu")
    FOLDER.mkdir(parents=True, exist_ok=True)
    start, end = _squares()
    for name in names:
        clips = dict(_clips(pipeline, start, end, PAGES[name]))
        path = FOLDER / f"{name}.webp"
        write(clips, path)


def _squares() -> Iterator[Image.Image]:
    file = next(photograph for photograph in photographs.PHOTOGRAPHS if photograph.file == PHOTOGRAPH)
    picture = Image.open(file.path).convert("RGB")
    for left in SQUARES:
        yield picture.crop((left, 0, left + picture.height, picture.height))


def _clips(
    pipeline: Pipeline, start: Image.Image, end: Image.Image, wanted: Clips
) -> Iterator[tuple[str, np.ndarray]]:
    """Clips by the words below them, uint8 (T, H, W, 3)."""
    for words, chosen in wanted.items():
        settings = {name: value for name, value in chosen.items() if name != "motion"}
        end_frame = end if "between" in settings else None
        clip = pipeline.animate(start, Settings(**settings), end_frame=end_frame, motion=chosen.get("motion"))
        yield words, clip.frames


def write(clips: dict[str, np.ndarray], path: Path) -> None:
    """Writes clips side by side with words below each, as a WebP that plays for ever.

    Raises ValueError where it has more than MOST_BYTES.
    """
    font = ImageFont.load_default(13)
    size = len(clips) * (CELL + GAP) - GAP, CELL + LINE
    frames = []
    for number in range(max(map(len, clips.values()))):
        frame = Image.new("RGB", size, (32, 32, 32))
        draw = ImageDraw.Draw(frame)
        for column, (words, clip) in enumerate(clips.items()):
            left = column * (CELL + GAP)
            shown = Image.fromarray(clip[min(number, len(clip) - 1)])
            frame.paste(shown.resize((CELL, CELL), Image.Resampling.LANCZOS), (left, 0))
            place = left + CELL / 2, CELL + LINE / 2
            draw.text(place, words, fill=(225, 225, 225), font=font, anchor="mm")
        frames.append(frame)
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=1000 // 6, loop=0, quality=QUALITY, method=6
    )
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes; at most {MOST_BYTES:,} are wanted.")


if __name__ == "__main__":
    main()
