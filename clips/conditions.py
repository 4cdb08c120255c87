"""Conditions of the UNet: the picture's embedding and latent, and numbers of the clip as sinusoids."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..svd_model.checkpoint.variants import Variant
from ..svd_model.networks.embedding import sinusoidal_embedding
from ..svd_model.networks.references import References
from .presets import USUAL_ELEVATION, USUAL_FPS, USUAL_MOTION

FEATURE_DIM = 256
"""Width of the embedding of a number; the embedding of a camera angle has twice the width."""


@dataclass(frozen=True)
class Conditions:
    """Inputs of the UNet beside latents and σ: one row for the clip, or one for each of its frames."""

    context: Tensor  # (1 or T, 1, context_dim)
    concat: Tensor  # (1 or T, 4, h, w)
    vector: Tensor | None = None  # (1 or T, vector_dim); None until a model embeds the numbers
    camera: Tensor | None = None  # (T, camera_dim) of MotionCtrl's track; None leaves its layers out
    references: References | None = None  # of as many rows, with shares of the latents' places

    def unconditional(self) -> "Conditions":
        """Conditions without the picture and its references; the vector and the camera stay."""
        without = {"context": torch.zeros_like(self.context), "concat": torch.zeros_like(self.concat)}
        if self.references is not None:
            tokens = torch.zeros_like(self.references.tokens)
            without["references"] = self.references._replace(tokens=tokens)
        return replace(self, **without)


def vector(
    variant: Variant,
    num_frames: int,
    noise_aug: float,
    *,
    fps: float = USUAL_FPS,
    motion_bucket_id: float = USUAL_MOTION,
    elevation: float | Sequence[float] = USUAL_ELEVATION,
    azimuths: Sequence[float] | None = None,
) -> Tensor:
    """Embedded numbers of the clip, float32: (1, vector_dim), for sv3d_p (T, vector_dim).

    The numbers are the ones that a variant was trained with: svd fps, motion and noise, sv3d_u noise, sv3d_p
    noise and camera. Angles are in degrees; azimuths count from the last frame's. Raises ValueError where
    there are not as many angles as frames.
    """
    if variant.camera:
        elevations = each_frame("elevation", elevation, num_frames)
        azimuths = orbit_azimuths(num_frames) if azimuths is None else azimuths
        return _orbit_vectors(noise_aug, elevations, each_frame("azimuths", azimuths, num_frames))
    if variant.orbit:
        return _embed([noise_aug], FEATURE_DIM)
    # The frame rate is embedded less one, as the checkpoints were trained.
    return _embed([fps - 1, motion_bucket_id, noise_aug], FEATURE_DIM)


def orbit_azimuths(num_frames: int) -> list[float]:
    """The reference's azimuths in degrees: equal steps once around, ending at 0, the view of the input."""
    return [360 * (frame + 1) / num_frames % 360 for frame in range(num_frames)]


def each_frame(name: str, angles: float | Sequence[float], num_frames: int) -> tuple[float, ...]:
    """One angle for each frame, of one number or a list; raises ValueError for a list of another length."""
    angles = tuple(angles) if hasattr(angles, "__iter__") else (angles,) * num_frames
    if len(angles) != num_frames:
        raise ValueError(f"{name} has {len(angles)} angles; give one for each of the {num_frames} frames.")
    return angles


def _orbit_vectors(noise_aug: float, elevations: Sequence[float], azimuths: Sequence[float]) -> Tensor:
    """(T, 1280): noise, the polar angle from straight above, and the azimuth, both in radians."""
    rows = []
    for elevation, azimuth in zip(elevations, azimuths, strict=True):
        angles = [math.radians(90 - elevation), math.radians((azimuth - azimuths[-1]) % 360)]
        rows.append(torch.cat([_embed([noise_aug], FEATURE_DIM), _embed(angles, 2 * FEATURE_DIM)], dim=-1))
    return torch.cat(rows)


def _embed(numbers: Sequence[float], dim: int) -> Tensor:
    return sinusoidal_embedding(torch.tensor(numbers, dtype=torch.float32, device="cpu"), dim).flatten()[None]
