"""Report on solvers and schedules: their distances from a solution of 200 steps."""

import numpy as np
from torch import Tensor

from stillmotion.headless.files import images
from stillmotion.headless.pipeline import Pipeline

from . import measures
from .held_out import latents, table

PICTURES = 2
REFERENCE = {"sampler": "euler", "steps": 200}
RUNS = (
    ("Euler, Karras", {"sampler": "euler"}, (5, 10, 25, 50)),
    ("Heun, Karras", {"sampler": "heun"}, (5, 10, 25)),
    ("DPM-Solver++ 2M, Karras", {"sampler": "dpmpp_2m"}, (5, 10, 25)),
    ("Euler, Align Your Steps", {"sampler": "euler", "schedule": "align_your_steps"}, (5, 10, 20)),
)


def solvers(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures PSNR of clips and error of latents against Euler with 200 steps of Karras' schedule."""
    crops = crops[:PICTURES]
    true = [latents(pipeline, crop, seed, **REFERENCE) for seed, crop in enumerate(crops)]
    decoded = [_frames(pipeline, clip) for clip in true]
    rows = []
    for name, settings, counts in RUNS:
        for steps in counts:
            likeness, errors = [], []
            for seed, crop in enumerate(crops):
                sampled = latents(pipeline, crop, seed, steps=steps, **settings)
                errors.append(float((sampled - true[seed]).square().mean().sqrt()))
                likeness.append(measures.psnr(_frames(pipeline, sampled), decoded[seed]))
            rows.append([name, steps, np.mean(likeness), f"{np.mean(errors):.4f}"])
    header = ["solver and schedule", "steps", "PSNR against 200 steps (dB)", "error of the latents (r.m.s.)"]
    title = f"### Solvers against Euler with 200 steps, {len(crops)} pictures"
    return f"{title}\n\n{table(header, rows)}"


def _frames(pipeline: Pipeline, clip: Tensor) -> np.ndarray:
    return images.to_uint8(pipeline.decode(clip))
