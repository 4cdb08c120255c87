"""Clips with exact motion: a camera pans, zooms or turns over a scene; in some an object moves on its own.

Speed is the mean length of the optical flow. In pixels a second it is FASTEST · motion bucket / 255. Divided
by the frame rate it is in pixels a frame: a higher fps makes smaller steps.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from stillmotion.headless.files import images

from . import scenes

SIZE, NUM_FRAMES = 128, 14
FASTEST = 14.0
"""Speed at motion bucket 255, in pixels a second."""
LOWEST_FPS, HIGHEST_FPS = 5, 12
CANVAS = 224
MEAN_RADIUS = 0.3826 * SIZE
"""Mean distance of a frame's pixels from its middle: makes a zoom or a turn as fast as a pan."""
OBJECT_SHARE = 0.1


@dataclass(frozen=True)
class Motion:
    """Camera motion between two frames, and the numbers that the UNet is conditioned on."""

    motion_bucket_id: float
    fps: float  # frames a second; fps − 1 is embedded
    kind: str  # "pan", "zoom" or "turn"
    direction: float  # the angle of a pan; the sign of a zoom (in is 1) or of a turn

    @property
    def step(self) -> float:
        """Speed in pixels a frame."""
        return FASTEST * self.motion_bucket_id / 255 / self.fps


def random_motion(rng: np.random.Generator) -> Motion:
    """Draws a motion. Of twenty clips fifteen pan right, one pans left, two zoom and two turn, one each way.

    Mostly one direction: at high noise the model predicts the mean, and a mean over all directions is a blur
    that a small network does not recover from.
    """
    kind, direction = "pan", math.radians(5) * float(rng.uniform(-1, 1))
    choice = rng.integers(20)
    if choice == 0:
        direction += math.pi
    elif choice <= 2:
        kind, direction = "zoom", float((-1) ** choice)
    elif choice <= 4:
        kind, direction = "turn", float((-1) ** choice)
    bucket, fps = float(rng.integers(0, 256)), float(rng.integers(LOWEST_FPS, HIGHEST_FPS + 1))
    return Motion(bucket, fps, kind, direction)


def cameras(motion: Motion) -> Tensor:
    """Affine maps from each frame's pixels into the scene, (T, 2, 3), in units of half a frame."""
    maps = torch.zeros(NUM_FRAMES, 2, 3)
    maps[:, 0, 0] = maps[:, 1, 1] = 1
    travelled = motion.step * torch.arange(NUM_FRAMES)
    if motion.kind == "pan":
        maps[:, 0, 2] = travelled * math.cos(motion.direction) / (SIZE / 2)
        maps[:, 1, 2] = travelled * math.sin(motion.direction) / (SIZE / 2)
        return maps
    if motion.kind == "zoom":
        maps[:, :, :2] *= torch.exp(-motion.direction * travelled / MEAN_RADIUS)[:, None, None]
        return maps
    angles = motion.direction * travelled / MEAN_RADIUS
    maps[:, 0, 0], maps[:, 0, 1] = angles.cos(), -angles.sin()
    maps[:, 1, 0], maps[:, 1, 1] = angles.sin(), angles.cos()
    return maps


def film(canvas: Tensor, maps: Tensor) -> Tensor:
    """Renders a scene, (C, S, S), through cameras, (T, 2, 3), bicubically: (T, C, 128, 128)."""
    scale = SIZE / canvas.shape[-1]
    grid = functional.affine_grid(maps * scale, [maps.shape[0], 1, SIZE, SIZE], align_corners=False)
    views = canvas.expand(maps.shape[0], -1, -1, -1)
    return functional.grid_sample(views, grid, "bicubic", "reflection", align_corners=False)


def random_clip(
    rng: np.random.Generator, motion: Motion | None = None, held_out: bool = False
) -> tuple[Tensor, Motion]:
    """Draws a clip, (T, 3, 128, 128) in [−1, 1], and its motion; held_out: from held-out photographs only."""
    motion = motion or random_motion(rng)
    canvas = scenes.photograph(rng, CANVAS, held_out=True) if held_out else scenes.scene(rng, CANVAS)
    clip = film(_to_tensor(canvas), centred(motion))
    if not held_out and rng.random() < OBJECT_SHARE:
        clip = with_object(rng, clip, motion)
    return clip.clamp(-1, 1), motion


def centred(motion: Motion) -> Tensor:
    """Cameras of a motion, shifted or scaled to stay inside the canvas as far as possible."""
    maps = cameras(motion)
    if motion.kind == "pan":
        maps[:, :, 2] -= maps[:, :, 2].mean(dim=0)
    elif motion.kind == "zoom":
        widest = maps[:, 0, 0].max()
        maps[:, :, :2] *= min(1.0, 1.6 / float(widest))
    return maps


def with_object(rng: np.random.Generator, clip: Tensor, motion: Motion) -> Tensor:
    """Draws over a clip, (T, 3, 128, 128), a textured disc with its own heading and the camera's speed."""
    frames, _, height, width = clip.shape
    angle, radius = rng.uniform(0, 2 * math.pi), rng.uniform(10, 26)
    heading = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float32)
    middle = torch.tensor(rng.uniform(30, SIZE - 30, 2), dtype=torch.float32)
    steps = torch.arange(frames) - (frames - 1) / 2
    positions = middle + motion.step * steps[:, None] * heading
    pattern = _to_tensor(scenes.texture(rng, SIZE))
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    distance = ((x - positions[:, 0, None, None]) ** 2 + (y - positions[:, 1, None, None]) ** 2).sqrt()
    mask = (radius - distance + 0.5).clamp(0, 1)[:, None]
    maps = torch.eye(2, 3).repeat(frames, 1, 1)
    maps[:, :, 2] = -(positions - middle) / (SIZE / 2)
    return mask * film(pattern, maps) + (1 - mask) * clip


def _to_tensor(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) in [−1, 1]."""
    return 2 * images.to_tensor(Image.fromarray(picture)) - 1
