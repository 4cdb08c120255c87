"""Report on motion that the user decides: a camera, a drag, a part that stays still."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from stillmotion.clips.motion import coarse, tracks
from stillmotion.clips.settings import Settings
from stillmotion.headless.files.images import to_tensor, to_uint8
from stillmotion.headless.motion import directions
from stillmotion.headless.pipeline import Pipeline
from stillmotion.svd_model.networks.vae import LATENT_SCALE

from . import clips, measures
from .held_out import table

CLIPS, SEEDS = 8, (0, 1)
FEW_STEPS = {"schedule": "align_your_steps"}
DIRECTIONS = {
    "right": (1, 0),
    "down right": (0.7071, 0.7071),
    "down": (0, 1),
    "down left": (-0.7071, 0.7071),
    "left": (-1, 0),
    "up left": (-0.7071, -0.7071),
    "up": (0, -1),
    "up right": (0.7071, -0.7071),
}
PANS = (0.08, 0.16)
"""Ways of a picture by the last frame, in parts of its side."""
BOX = (44, 84, 24, 64)
"""Top, bottom, left and right of the part that is dragged, in pixels of 128."""
PATH = [{"x": 0.35, "y": 0.5}, {"x": 0.65, "y": 0.4}]
FROZEN = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]


def cameras(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures how far a picture goes by the last frame where a pan is asked for, and where none is."""
    rows, asked = [], []
    images = [Image.fromarray(crop) for crop in crops[:CLIPS]]
    for pan in PANS:
        for name, (right, down) in DIRECTIONS.items():
            way = np.array([down, right]) * pan * clips.SIZE
            motion = {"camera": {"pan": [pan * right, pan * down]}}
            found = _ways(pipeline, images, f"{name} {pan:g}", motion=motion)
            decoded = np.array([_way(_decoded(pipeline, image, motion)[1]) for image in images])
            asked.append(way)
            missed = np.linalg.norm(found - way, axis=1)
            ways = map(_right_down, (way, decoded, found))
            rows.append([f"{name}, {pan * clips.SIZE:.1f} px", *ways, missed])
    plain = _ways(pipeline, images, "plain")
    for row, way in zip(rows, asked, strict=True):
        row[-1:] = [np.median(row[-1]), row[-1].max(), np.median(np.linalg.norm(plain - way, axis=1))]
    header = [
        "asked",
        "asked: right, down",
        "the coarse video decoded",
        "got",
        "missed by, median",
        "worst",
        "a plain clip misses by, median",
    ]
    said = f"A plain clip goes {_right_down(plain)}."
    title = f"### A camera: pixels by the last frame, median of {CLIPS} pictures and {len(SEEDS)} seeds"
    return f"{title}\n\n{table(header, rows)}\n{said}\n"


def _ways(pipeline: Pipeline, images: list[Image.Image], what: str, **chosen) -> np.ndarray:
    """Ways of clips from the first to the last frame, down and right, in pixels: (clips, 2)."""
    found = []
    for image in tqdm(images, f"camera {what}", mininterval=5):
        for seed in SEEDS:
            frames = pipeline.animate(image, Settings(seed=seed, **FEW_STEPS), **chosen).frames
            found.append(_way(frames))
    return np.array(found)


REACH = 28
"""The largest way found, in pixels."""


def _way(frames: np.ndarray) -> tuple[float, float]:
    """The way of a clip from the first to the last frame, down and right, in pixels."""
    return measures.shift(frames[0], frames[-1], reach=REACH)


def _right_down(ways: np.ndarray) -> str:
    """The median of ways."""
    down, right = np.median(np.atleast_2d(ways), axis=0)
    return f"{right:.1f}, {down:.1f}"


def _decoded(
    pipeline: Pipeline, image: Image.Image, motion: dict
) -> tuple[coarse.Coarse, np.ndarray, Tensor]:
    """The coarse video of a motion, decoded from its latents, uint8 (T, H, W, 3), and these latents."""
    drawn = directions(motion).motion or tracks.Motion()
    video = coarse.coarse(drawn, to_tensor(image), clips.NUM_FRAMES, {})
    latents = pipeline.encode_pictures(video.frames * 2 - 1).cpu() * LATENT_SCALE
    return video, to_uint8(pipeline.decode(latents)), latents


def drags(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures how near a dragged part comes to its coarse video, beside a plain clip and the autoencoder."""
    rows = []
    for name, prepared in (("a box of another picture", _boxed(crops)), ("a part of the picture", crops)):
        found = []
        for crop in tqdm(prepared[:CLIPS], f"drag {name}", mininterval=5):
            found += [_dragged(pipeline, crop, seed) for seed in SEEDS]
        found = np.array(found)
        rows.append([name, *np.mean(found, axis=0), found[:, 3].max(), found[:, 4].max()])
    header = [
        "",
        "dragged",
        "plain",
        "the coarse video decoded",
        "dragged ÷ plain",
        "in latents",
        "outside, dragged − plain (dB)",
        "dragged ÷ plain, worst",
        "in latents, worst",
    ]
    title = f"### A drag: mean absolute error inside of the mask, {CLIPS} pictures, {len(SEEDS)} seeds"
    return f"{title}\n\n{table(header, rows)}"


def _boxed(crops: list[np.ndarray]) -> list[np.ndarray]:
    """Pictures with a box of the next one in them."""
    top, bottom, left, right = BOX
    boxed = [crop.copy() for crop in crops]
    for number, crop in enumerate(boxed):
        crop[top:bottom, left:right] = crops[(number + 1) % len(crops)][top:bottom, left:right]
    return boxed


def _dragged(pipeline: Pipeline, crop: np.ndarray, seed: int) -> tuple[float, ...]:
    """Errors of a dragged, a plain and a decoded coarse video; ratios in pixels and latents; dB outside."""
    side = clips.SIZE
    top, bottom, left, right = (edge / side for edge in BOX)
    polygon = [[left, top], [right, top], [right, bottom], [left, bottom]]
    motion = {"regions": [{"polygon": polygon, "path": PATH}]}
    image = Image.fromarray(crop)
    settings = Settings(seed=seed)
    held, plain = pipeline.animate(image, settings, motion=motion), pipeline.animate(image, settings)
    video, decoded, latents = _decoded(pipeline, image, motion)
    inside = video.mask.bool().expand(-1, 3, -1, -1).movedim(1, -1).numpy()
    expected = to_uint8(video.frames * 2 - 1)
    errors = [
        float(np.abs(frames.astype(np.float32) - expected)[inside].mean())
        for frames in (held.frames, plain.frames, decoded)
    ]
    small = torch.nn.functional.avg_pool2d(video.mask, 8) == 1
    by_latents = [
        float((clip.latents - latents).abs()[small.expand_as(latents)].mean()) for clip in (held, plain)
    ]
    outside = ~inside.any(axis=0)
    likeness = [_psnr(clip.frames[0], crop, outside) for clip in (held, plain)]
    return *errors, errors[0] / errors[1], by_latents[0] / by_latents[1], likeness[0] - likeness[1]


def _psnr(frame: np.ndarray, picture: np.ndarray, chosen: np.ndarray) -> float:
    error = (frame.astype(np.float32) - picture.astype(np.float32))[chosen]
    return float(10 * np.log10(255**2 / np.square(error).mean()))


def frozen(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures how much a frozen half changes over time, before and after the picture is pasted back."""
    found = []
    for crop in tqdm(crops[:CLIPS], "freeze", mininterval=5):
        found += [_frozen(pipeline, crop, seed) for seed in SEEDS]
    found = np.array(found)
    rows = [
        ["mean", *found.mean(axis=0)],
        ["median", *np.median(found, axis=0)],
        ["worst", *found[:, :5].max(axis=0), found[:, 5].min()],
    ]
    header = [
        "",
        "decoded",
        "pasted back",
        "plain clip",
        "a still decoded",
        "decoded ÷ plain",
        "outside, frozen − plain (dB)",
    ]
    title = f"### A frozen half: its deviation over time in levels, {CLIPS} pictures, {len(SEEDS)} seeds"
    return f"{title}\n\n{table(header, rows)}"


def _frozen(pipeline: Pipeline, crop: np.ndarray, seed: int) -> tuple[float, ...]:
    image, settings, half = Image.fromarray(crop), Settings(seed=seed), clips.SIZE // 2
    motion = {"regions": [{"kind": "freeze", "polygon": FROZEN}]}
    held, plain = pipeline.animate(image, settings, motion=motion), pipeline.animate(image, settings)
    decoded = to_uint8(pipeline.decode(held.latents))
    still = pipeline.encode_pictures(to_tensor(image)[None] * 2 - 1).cpu() * LATENT_SCALE
    still = to_uint8(pipeline.decode(still.expand_as(held.latents)))

    def deviation(frames: np.ndarray) -> float:
        return float(frames[:, :, :half].astype(np.float64).std(axis=0).mean())

    outside = np.zeros(crop.shape[:2], dtype=bool)
    outside[:, half + 16 :] = True
    likeness = [_psnr(clip.frames[0], crop, outside) for clip in (held, plain)]
    values = [deviation(frames) for frames in (decoded, held.frames, plain.frames, still)]
    return *values, values[0] / values[2], likeness[0] - likeness[1]
