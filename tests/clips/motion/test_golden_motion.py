"""Coarse videos against numbers of Time-to-Move's editor, and of the page's camera."""

import math

import torch

from stillmotion.clips.motion.camera import flat, parallax
from stillmotion.clips.motion.warp import Layer, Pose, along, drawn, filled, origin_of
from support.golden_motion import FRAMES, check
from support.golden_time import draw

PICTURE = (0.5 + 0.25 * draw("motion.picture", 3, 64, 96)).clamp(0, 1)
MASK = torch.zeros(1, 64, 96, dtype=torch.float64)
MASK[:, 20:44, 30:66] = 1


def keys() -> list[Pose]:
    path = draw("motion.path", 3, 4)[1:]
    moved = [
        Pose(47.5 + 10 * x, 31.5 + 10 * y, math.exp(0.3 * scale), 40 * degrees)
        for x, y, scale, degrees in path.tolist()
    ]
    return [Pose(47.5, 31.5), *moved]


def test_golden_motion_drag():
    assert origin_of(MASK) == (47.5, 31.5)
    poses = along(keys(), FRAMES)
    check("drag.poses", torch.tensor(poses, dtype=torch.float64))
    background = filled(PICTURE, 1 - MASK)
    check("drag.background", background)
    frames, mask = drawn(PICTURE, background, [Layer(MASK, (47.5, 31.5), poses)])
    check("drag.frames", frames)
    check("drag.mask", mask)


def test_golden_motion_camera():
    across, down, zoom, roll = draw("motion.camera", 4).tolist()
    frames, mask = flat(PICTURE, FRAMES, (8 * across, 8 * down), math.exp(0.3 * zoom), 15 * roll)
    check("camera.frames", frames)
    check("camera.mask", mask)


def test_golden_motion_parallax():
    nearness = draw("motion.nearness", 64, 96).sigmoid()[None]
    frames, mask = parallax(PICTURE, nearness, FRAMES, tuple((12 * draw("motion.parallax", 2)).tolist()))
    check("parallax.frames", frames)
    check("parallax.mask", mask)
