"""Report on the VAE: reconstruction of pictures, flicker of both decoders."""

import numpy as np
import torch
from PIL import Image

from stillmotion.headless.files.images import to_tensor, to_uint8
from stillmotion.headless.pipeline import Pipeline
from stillmotion.svd_model.networks.vae import LATENT_SCALE

from . import measures
from .held_out import moving, table

CLIPS = 12
JITTERS = (0.0, 0.1, 0.2)
"""Standard deviations of noise on scaled latents: none, and about as much as sampling leaves."""


@torch.no_grad()
def reconstruction(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures PSNR and SSIM of encoded and decoded pictures."""
    rows = {"frame-wise": [], "temporal, a still of 14 frames": []}
    for crop in crops:
        latents = LATENT_SCALE * pipeline.encode_pictures(2 * to_tensor(Image.fromarray(crop))[None] - 1)
        decoded = pipeline.decode(latents, frame_wise=True)
        rows["frame-wise"].append(_likeness(to_uint8(decoded)[0], crop))
        still = pipeline.decode(latents.repeat(14, 1, 1, 1))
        rows["temporal, a still of 14 frames"].append(_likeness(to_uint8(still)[7], crop))
    lines = [
        [name, np.mean(values, 0)[0], np.min(values, 0)[0], np.max(values, 0)[0], np.mean(values, 0)[1]]
        for name, values in rows.items()
    ]
    header = ["decoder", "PSNR, mean (dB)", "lowest", "highest", "SSIM, mean"]
    return f"### Reconstruction of {len(crops)} held-out pictures, 128×128\n\n{table(header, lines)}"


def _likeness(frame: np.ndarray, crop: np.ndarray) -> tuple[float, float]:
    return measures.psnr(frame, crop), measures.ssim(frame, crop)


@torch.no_grad()
def flicker(pipeline: Pipeline, crops: list[np.ndarray]) -> str:
    """Measures the temporal difference error of both decoders on true clips of held-out photographs."""
    rows = []
    generator = torch.Generator().manual_seed(0)
    videos = moving(CLIPS)
    for jitter in JITTERS:
        errors, likeness = {True: [], False: []}, {True: [], False: []}
        for video in videos:
            latents = LATENT_SCALE * pipeline.encode_pictures(video)
            latents = latents + jitter * torch.randn(latents.shape, generator=generator)
            for frame_wise in (True, False):
                frames, true = to_uint8(pipeline.decode(latents, frame_wise)), to_uint8(video)
                errors[frame_wise].append(measures.temporal_difference_error(frames, true))
                likeness[frame_wise].append(measures.psnr(frames, true))
        fewer = sum(temporal < single for temporal, single in zip(errors[False], errors[True], strict=True))
        row = [f"{jitter:g}", np.mean(errors[True]), np.mean(errors[False]), f"{fewer} of {len(videos)}"]
        rows.append([*row, np.mean(likeness[True]), np.mean(likeness[False])])
    header = ["noise on the latents", "frame-wise", "temporal", "temporal is lower in"]
    header += ["PSNR frame-wise (dB)", "PSNR temporal (dB)"]
    title = f"### Temporal difference error (levels of 255), {CLIPS} true clips of held-out photographs"
    return f"{title}\n\n{table(header, rows)}"
