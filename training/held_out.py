"""The pictures and clips that the report is about, none of which the model has seen."""

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from stillmotion.clips.settings import Settings
from stillmotion.headless.pipeline import Pipeline

from . import clips, scenes

SEED = 20261125


def pictures(number: int) -> list[np.ndarray]:
    """Crops of the held-out photographs, the same each time: uint8 (128, 128, 3)."""
    rng = np.random.default_rng(SEED)
    return [np.ascontiguousarray(scenes.photograph(rng, clips.SIZE, held_out=True)) for _ in range(number)]


def moving(number: int) -> list[Tensor]:
    """True clips of held-out photographs, (T, 3, 128, 128) in [−1, 1]."""
    rng = np.random.default_rng(SEED + 1)
    return [clips.random_clip(rng, held_out=True)[0] for _ in range(number)]


def animate(
    pipeline: Pipeline, crops: list[np.ndarray], what: str, own: list[dict] | None = None, **settings
) -> list[np.ndarray]:
    """A clip of each picture, uint8 (T, H, W, 3), with the picture's number as the seed.

    Settings of all pictures; `own` has those of each.
    """
    bar = tqdm(zip(crops, own or [{}] * len(crops), strict=True), what, total=len(crops), mininterval=5)
    return [
        pipeline.animate(Image.fromarray(crop), Settings(seed=seed, **settings, **more)).frames
        for seed, (crop, more) in enumerate(bar)
    ]


def latents(pipeline: Pipeline, crop: np.ndarray, seed: int, **settings) -> Tensor:
    """The sampled latents of one picture."""
    complete = Settings(seed=seed, **settings).complete(pipeline.checkpoint.variant)
    return pipeline.animate_latents(pipeline.prepare(Image.fromarray(crop), complete), complete)


def table(header: list[str], rows: list[list]) -> str:
    """A Markdown table; numbers with two places."""

    def cell(value) -> str:
        return f"{value:.2f}" if isinstance(value, float | np.floating) else str(value)

    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines) + "\n"
