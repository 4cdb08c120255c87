"""What the UNet is told besides the noisy latents: numbers as sinusoids, and the angles of an orbit."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .embedding import sinusoidal_embedding

FEATURE_DIM = 256
"""The width of the embedding of fps, motion bucket and noise augmentation; camera angles have twice it."""


def svd_vector(fps: float, motion_bucket_id: float, noise_aug: float) -> Tensor:
    """The vector of an SVD checkpoint, (1, 768), of the numbers as given: fps is the frame rate less one."""
    return _embed([fps, motion_bucket_id, noise_aug], FEATURE_DIM)


def sv3d_u_vector(noise_aug: float) -> Tensor:
    """The vector of sv3d_u, (1, 256)."""
    return _embed([noise_aug], FEATURE_DIM)


def sv3d_p_vector(noise_aug: float, polar: float, azimuth: float) -> Tensor:
    """The vector of sv3d_p for one frame, (1, 1280); the angles are in radians."""
    return torch.cat([_embed([noise_aug], FEATURE_DIM), _embed([polar, azimuth], 2 * FEATURE_DIM)], dim=-1)


def _embed(numbers: Sequence[float], dim: int) -> Tensor:
    return sinusoidal_embedding(torch.tensor(numbers, dtype=torch.float32, device="cpu"), dim).flatten()[None]


def orbit_azimuths(num_frames: int) -> list[float]:
    """The reference's azimuths in degrees: equal steps once around, ending at 0, the view of the input."""
    return [360 * (frame + 1) / num_frames % 360 for frame in range(num_frames)]


def orbit_vectors(noise_aug: float, elevations: Sequence[float], azimuths: Sequence[float]) -> Tensor:
    """The vectors of sv3d_p, (T, 1280), for an elevation and an azimuth in degrees for each frame.

    The polar angle is measured from straight above; azimuths count from the last frame's.
    """
    rows = [
        sv3d_p_vector(noise_aug, math.radians(90 - elevation), math.radians((azimuth - azimuths[-1]) % 360))
        for elevation, azimuth in zip(elevations, azimuths, strict=True)
    ]
    return torch.cat(rows)
