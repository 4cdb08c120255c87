"""Clips that several processes make together, small and quick, and one process alone."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from stillmotion.headless import Pipeline

SIZES = {"width": 64, "height": 64, "steps": 2, "num_frames": 5}
PICTURE = Image.radial_gradient("L").convert("RGB")
END = {"end_frame": PICTURE.rotate(90)}

WAYS: dict[str, tuple[dict, dict]] = {
    "plain": ({}, {}),
    "scale 1": ({"min_guidance": 1, "max_guidance": 1}, {}),
    "interval": ({"guidance_interval": (2, 1000), "steps": 3}, {}),
    "cache": ({"feature_cache": 2, "steps": 3}, {}),
    "cache and interval": ({"feature_cache": 2, "steps": 5, "guidance_interval": (1, 100)}, {}),
    "momentum": ({"guidance_method": "apg", "apg_momentum": -0.5}, {}),
    "noise of the solver": ({"churn": 0.4}, {}),
    "one skip": ({"skip_guidance": (2, 0)}, {}),
    "two skips": ({"skip_guidance": (2, 0.5), "guidance_rescale": 0.7}, {}),
    "two skips and cache": ({"skip_guidance": (2, 0.5), "feature_cache": 2}, {}),
    "chain": ({"num_frames": 7, "chunk": 4, "overlap": 1}, {}),
    "windows": ({"num_frames": 7, "chunk": 4, "overlap": 1, "long": "windows"}, {}),
    "ring": ({"loop": "shift"}, {}),
    "end frame": ({"between": "trf"}, END),
    "both ends at once": ({"between": "vibid"}, END),
}
"""Settings and further pictures of each way."""


def clips(pipeline: Pipeline, ways: Sequence[str]) -> dict[str, Tensor]:
    """Latents and frames of a clip of each way."""
    found = {}
    for name in ways:
        settings, pictures = WAYS[name]
        clip = pipeline.animate(PICTURE, {**SIZES, **settings}, **pictures)
        found |= {f"{name}, latents": clip.latents, f"{name}, frames": torch.from_numpy(clip.frames)}
    return found


def latents(frames: int) -> Tensor:
    """Latents to decode, (T, 4, 4, 6), in float64."""
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(frames, 4, 4, 6, generator=generator, dtype=torch.float64)
