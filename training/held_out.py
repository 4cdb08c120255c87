"""Held-out pictures and clips for the report: the model has seen none of them."""

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from benchmarks import measure
from stillmotion.clips.settings import Settings
from stillmotion.headless.pipeline import Pipeline

from . import clips, scenes

SEED = 20261125


def pictures(number: int) -> list[np.ndarray]:
    """Draws crops of the held-out photographs from a fixed seed: uint8 (128, 128, 3)."""
    rng = np.random.default_rng(SEED)
    return [np.ascontiguousarray(scenes.photograph(rng, clips.SIZE, held_out=True)) for _ in range(number)]


def moving(number: int) -> list[Tensor]:
    """Draws true clips of held-out photographs from a fixed seed, (T, 3, 128, 128) in [−1, 1]."""
    rng = np.random.default_rng(SEED + 1)
    return [clips.random_clip(rng, held_out=True)[0] for _ in range(number)]


def animate(
    pipeline: Pipeline, crops: list[np.ndarray], what: str, own: list[dict] | None = None, **settings
) -> list[np.ndarray]:
    """Animates each picture with its number as the seed: uint8 (T, H, W, 3).

    what: title of the progress bar. own: settings of each picture, in addition to the common settings.
    """
    bar = tqdm(zip(crops, own or [{}] * len(crops), strict=True), what, total=len(crops), mininterval=5)
    return [
        pipeline.animate(Image.fromarray(crop), Settings(seed=seed, **settings, **own_settings)).frames
        for seed, (crop, own_settings) in enumerate(bar)
    ]


def latents(pipeline: Pipeline, crop: np.ndarray, seed: int, **settings) -> Tensor:
    """Samples the latents of one picture's clip, (T, 4, h, w)."""
    complete = Settings(seed=seed, **settings).complete(pipeline.checkpoint.variant)
    conditions = pipeline.encode(pipeline.prepare(Image.fromarray(crop), complete), complete)
    return pipeline.sample(conditions, complete)


def table(header: list[str], rows: list[list]) -> str:
    """Writes a Markdown table, floats with two places."""

    def cell(value) -> str:
        return f"{value:.2f}" if isinstance(value, float | np.floating) else str(value)

    return measure.table(header, [[cell(value) for value in row] for row in rows]) + "\n"
