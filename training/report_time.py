"""Report on clips over time: a last frame, loops, and clips of many frames."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from skimage.color import rgb2lab
from torch import Tensor
from tqdm import tqdm

from stillmotion.clips.run import BETWEEN
from stillmotion.clips.settings import Settings
from stillmotion.headless.files.images import to_uint8
from stillmotion.headless.pipeline import Pipeline
from stillmotion.svd_model.networks.vae import LATENT_SCALE

from . import clips
from .held_out import SEED, table

CLIPS, SEEDS = 8, (0, 1)
AROUND = 11
"""Steps before and after one that it is compared with: about a chunk of the built-in model."""
FEW_STEPS = {"schedule": "align_your_steps"}


def last_frame(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures clips between the first and the last frame of true pans over held-out photographs."""
    errors: dict[str, list[tuple[float, float]]] = {}
    for true, motion in tqdm(_pans(CLIPS), "last frame", mininterval=5):
        expected = pipeline.encode_pictures(true).cpu() * LATENT_SCALE
        start, end = (Image.fromarray(picture) for picture in to_uint8(true[[0, -1]]))
        told = {"motion_bucket_id": round(motion.motion_bucket_id), "fps": motion.fps}
        ways = {
            "start picture only": {},
            **{
                f"{name}, {steps} steps": {"between": name, **chosen}
                for steps, chosen in _steps().items()
                for name in BETWEEN
            },
        }
        weights = torch.linspace(0, 1, len(expected))[:, None, None, None]
        blend = torch.lerp(expected[:1], expected[-1:], weights)
        for seed in SEEDS:
            errors.setdefault("blend of both latents", []).append(_errors(blend, expected))
            for name, chosen in ways.items():
                settings = Settings(seed=seed, **told, **{**FEW_STEPS, **chosen})
                ends = {"end_frame": end} if "between" in chosen else {}
                clip = pipeline.animate(start, settings, **ends)
                errors.setdefault(name, []).append(_errors(clip.latents, expected))
    rows = [[name, *np.mean(found, axis=0), *np.median(found, axis=0)] for name, found in errors.items()]
    header = ["", "last frame", "frames between", "last frame, median", "frames between, median"]
    title = f"### A last frame: r.m.s. error of the latents, {CLIPS} true pans, {len(SEEDS)} seeds"
    return f"{title}\n\n{table(header, rows)}"


def _steps() -> dict[int, dict]:
    return {10: FEW_STEPS, 25: {"schedule": "karras", "steps": 25}}


def _pans(number: int) -> list[tuple[Tensor, clips.Motion]]:
    """True clips, (T, 3, 128, 128) in [−1, 1], of cameras that pan over held-out photographs."""
    rng, found = np.random.default_rng(SEED + 2), []
    while len(found) < number:
        motion = clips.random_motion(rng)
        if motion.kind == "pan" and motion.step * clips.NUM_FRAMES > 8:
            found.append(clips.random_clip(rng, motion, held_out=True))
    return found


def _errors(latents: Tensor, expected: Tensor) -> tuple[float, float]:
    """Root mean square errors of the last frame, and of the frames between."""
    error = (latents - expected).square().mean(dim=(1, 2, 3))
    return float(error[-1].sqrt()), float(error[1:-1].mean().sqrt())


def loops(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures the step from a loop's last frame to its first, decoded with and without the ring."""
    rows = []
    for name, chosen in (("plain clip", {}), ("pinned", {"loop": "pinned"}), ("shift", {"loop": "shift"})):
        found = []
        for crop in tqdm(crops[:CLIPS], f"loop {name}", mininterval=5):
            for seed in SEEDS:
                clip = pipeline.animate(Image.fromarray(crop), Settings(seed=seed, **FEW_STEPS, **chosen))
                decoded = [pipeline.decode(clip.latents, ring=ring) for ring in (False, True)]
                found.append([_seam(clip.latents), *map(_seam, decoded), _step(decoded[1])])
        rows.append([name, *np.median(found, axis=0)])
    header = ["", "seam of the latents", "decoded plainly", "decoded on the ring", "median step (levels)"]
    title = f"### Loops: seam ÷ median step, median of {CLIPS} pictures, {len(SEEDS)} seeds"
    return f"{title}\n\n{table(header, rows)}"


def _steps_of(frames: Tensor) -> Tensor:
    """Root mean square steps from each frame to the next, the last one to the first."""
    return (frames.roll(-1, 0) - frames).square().mean(dim=(1, 2, 3)).sqrt()


def _seam(frames: Tensor) -> float:
    steps = _steps_of(frames)
    return float(steps[-1] / steps[:-1].median())


def _step(frames: Tensor) -> float:
    return float(127.5 * _steps_of(frames)[:-1].median())


def long_clips(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures what many frames do to contrast, colour and joints."""
    rows = []
    few = CLIPS // 2
    for name, length, number, chosen in (
        ("plain clip", clips.NUM_FRAMES, CLIPS, {}),
        ("chain", 100, CLIPS, {}),
        ("chain", 400, few, {}),
        ("chain, match 0.5", 100, few, {"match": 0.5}),
        ("chain, match 0", 100, few, {"match": 0.0}),
        ("windows", 100, few, {"long": "windows"}),
        ("freenoise", 100, few, {"long": "freenoise"}),
    ):
        found = []
        for seed, crop in enumerate(tqdm(crops[:number], f"{name} {length}", mininterval=5)):
            settings = Settings(seed=seed, num_frames=length, **FEW_STEPS, **chosen)
            clip = pipeline.animate(Image.fromarray(crop), settings)
            found.append((_spread(clip.latents), *_drift(clip.frames)))
        rows.append([name, length, number, *np.mean(found, axis=0), *_worst(np.array(found))])
    header = [
        "",
        "frames",
        "pictures",
        "spread of the latents",
        "contrast",
        "ΔE",
        "largest step ÷ median around it",
    ]
    header += [f"{name}, worst" for name in header[3:]]
    return f"### Many frames: the last 5 against the first 5\n\n{table(header, rows)}"


def _spread(latents: Tensor) -> float:
    """Deviation of the last five frames' latents by the first five's, the mean of the channels."""
    first, last = (latents[chosen].std(dim=(0, 2, 3)) for chosen in (slice(0, 5), slice(-5, None)))
    return float((last / first).mean())


def _worst(found: np.ndarray) -> list[float]:
    """Of each column the number farthest from its best: ratios from 1, the others from 0."""
    best = np.array([1.0, 1.0, 0.0, 0.0])
    return [
        float(column[np.abs(column - ideal).argmax()]) for column, ideal in zip(found.T, best, strict=True)
    ]


def _drift(frames: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Contrast and colour of the last five frames by the first five's; the largest step ÷ those around it.

    Contrast is the deviation of the lightness, colour the distance of the mean colours in CIELAB.
    """
    frames = np.asarray(frames)
    lab = [rgb2lab(frames[chosen]) for chosen in (slice(0, 5), slice(-5, None))]
    contrast = lab[1][..., 0].std() / lab[0][..., 0].std()
    distance = np.linalg.norm(lab[1].mean(axis=(0, 1, 2)) - lab[0].mean(axis=(0, 1, 2)))
    steps = np.sqrt((np.diff(frames.astype(np.float32), axis=0) ** 2).mean(axis=(1, 2, 3)))
    around = [np.median(steps[max(0, index - AROUND) : index + AROUND + 1]) for index in range(len(steps))]
    return float(contrast), float(distance), float((steps / around).max())
