"""Measures approximate levers: their speed, and their likeness to the exact clip of 25 steps.

    python benchmarks/levers.py SCALE PATH OUT.json

Likeness is measured on the built-in model, since random weights give no pictures. Time is measured on it and
on full-size random weights (on a CPU at a small size, and for sampling alone).
"""

import json
import statistics
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from measure import table
from peers.ours import make_settings
from scale import ROOT, Scale, find_modules
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from weights import single_file

from stillmotion import builtin_model
from stillmotion.clips.settings import Settings
from stillmotion.headless.pipeline import Clip, Pipeline

EXACT = "exact, 25 steps"
STEPS, TINY_RUNS = 25, 3
INTERVAL = (0.3, 50.0)
AYS = {"schedule": "align_your_steps", "steps": 10}
LEVERS = {
    EXACT: {},
    "Align Your Steps, 10 steps": AYS,
    f"guidance only for σ in {INTERVAL[0]:g}–{INTERVAL[1]:g}": {"guidance_interval": INTERVAL},
    **{f"deep features kept, interval {count}": {"feature_cache": count} for count in (2, 3, 4, 5)},
    "Align Your Steps with interval 2": {**AYS, "feature_cache": 2},
    "Align Your Steps with interval 3": {**AYS, "feature_cache": 3},
}
BF16 = "bfloat16 decode"
QUICK = {"steps": 2}
SAMPLING_SIZE = (4, 128, 64)  # on a CPU: frames, width, height


def available() -> dict[str, dict]:
    """Levers whose options exist in Settings."""
    options = {field.name for field in fields(Settings)}
    return {name: changes for name, changes in LEVERS.items() if changes.keys() <= options}


def on_builtin(quick: bool) -> dict[str, dict]:
    """Measures seconds of a whole clip and its likeness to the exact clip, on the built-in model."""
    checkpoint = builtin_model.load()
    pipelines = {
        name: Pipeline(checkpoint, dtype="float32", decode_dtype=name) for name in ("float32", "bfloat16")
    }
    size = {"num_frames": 2, "width": 64, "height": 64, **QUICK} if quick else {}
    exact, measured = None, {}
    for name, changes in {**available(), BF16: {}}.items():
        pipeline = pipelines["bfloat16" if name == BF16 else "float32"]
        settings = Settings(**{"steps": STEPS, "seed": 1, **changes, **size})
        clip, seconds = _clip(pipeline, settings, 1 if quick else TINY_RUNS)
        exact = clip.frames if exact is None else exact
        measured[name] = {"seconds": seconds, **likeness(exact, clip.frames)}
        print(f"built-in, {name}: {seconds:.2f} s", flush=True)
    return measured


def _clip(pipeline: Pipeline, settings: Settings, runs: int) -> tuple[Clip, float]:
    pipeline.animate(ROOT / "assets" / "rocket.jpg", Settings(num_frames=2, width=64, height=64, steps=1))
    durations = []
    for _ in range(runs):
        began = time.perf_counter()
        clip = pipeline.animate(ROOT / "assets" / "rocket.jpg", settings)
        durations.append(time.perf_counter() - began)
    return clip, statistics.median(durations)


def likeness(exact: np.ndarray, frames: np.ndarray) -> dict[str, float]:
    """PSNR in dB, at most 99, and the mean SSIM of the frames: uint8 (T, H, W, 3)."""
    with np.errstate(divide="ignore"):  # equal clips have infinitely many dB
        psnr = peak_signal_noise_ratio(exact, frames, data_range=255)
    each = [structural_similarity(a, b, channel_axis=-1) for a, b in zip(exact, frames, strict=True)]
    return {"psnr": float(min(99.0, psnr)), "ssim": float(np.mean(each))}


def on_full_size(scale: Scale, path: Path) -> dict[str, dict]:
    """Measures seconds of sampling with the full-size weights."""
    small = scale if scale.device == "cuda" or scale.quick else scale.sized(*SAMPLING_SIZE)
    pipeline = Pipeline.open(single_file(path), device=scale.device, dtype=scale.torch_dtype)
    measured = {}

    def complete(**changes) -> Settings:
        return make_settings(small, **changes).complete(pipeline.checkpoint.variant)

    picture = pipeline.prepare(ROOT / "assets" / "rocket.jpg", complete())
    conditions = pipeline.encode(picture, complete())
    pipeline.sample(conditions, complete(steps=1))  # libraries set up their state in the first call
    for name, changes in available().items():
        settings = complete(**{"steps": STEPS, **changes, **(QUICK if scale.quick else {})})
        began = time.perf_counter()
        pipeline.sample(conditions, settings)
        measured[name] = {"seconds": time.perf_counter() - began}
        print(f"{small}: {name}, {measured[name]['seconds']:.2f} s", flush=True)
    measured[BF16] = _decodes(pipeline, torch.randn(small.shape, generator=_seeded()))
    return measured


def _decodes(pipeline: Pipeline, latents: Tensor) -> dict[str, float]:
    """Measures seconds of a decode in bfloat16, and in float32 as "exact"."""
    seconds = {}
    for name, dtype in (("exact", torch.float32), ("seconds", torch.bfloat16)):
        pipeline.decode_dtype = dtype
        pipeline.decode(latents)
        began = time.perf_counter()
        pipeline.decode(latents)
        seconds[name] = time.perf_counter() - began
    return seconds


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def rows(builtin: dict, full: dict) -> list[tuple]:
    """Table rows of the levers: speed and likeness."""
    table_rows = []
    for name, found in builtin.items():
        speed = f"{builtin[EXACT]['seconds'] / found['seconds']:.2f}×"
        here = full.get(name)
        full_speed = f"{here.get('exact', full[EXACT]['seconds']) / here['seconds']:.2f}×" if here else ""
        likeness_cells = (f"{found['psnr']:.1f} dB", f"{found['ssim']:.4f}")
        table_rows.append((name, speed, full_speed, *(("", "") if name == EXACT else likeness_cells)))
    return table_rows


def main() -> None:
    """Measures; writes the table and the numbers as JSON."""
    scale, path, out = Scale.from_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    find_modules()
    builtin, full = on_builtin(scale.quick), on_full_size(scale, path)
    times = ("speed, built-in, clip", "speed, full size (sampling; the last: decoding)")
    head = ("lever", *times, "PSNR to exact", "SSIM to exact")
    text = f"## approximate levers\n\n{table(head, rows(builtin, full))}"
    missing = [name for name in LEVERS if name not in builtin]
    if missing:
        text += f"\n\nnot in these Settings: {', '.join(missing)}"
    out.write_text(json.dumps({"markdown": text, "data": {"built-in": builtin, "full size": full}}))


if __name__ == "__main__":
    main()
