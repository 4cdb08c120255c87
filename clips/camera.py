"""Camera tracks of MotionCtrl: where the camera is at each frame, as its network takes it.

A pose is the rows of [R|t], 3 × 4, from the world to the camera: x to the right, y down, z ahead. The poses
of a track are relative to the first one (Wang et al., "MotionCtrl", 2023, and its authors' script).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..svd_model.checkpoint.sizes import CAMERA_DIM

SCALE = (3.0, 1.0, 4.0)
"""Factors of the authors' script for positions along x, y and z."""

STEP = 0.0875
"""Way of a camera from frame to frame, before the scale: about the authors' own."""

ROLL = math.radians(4)
"""Angle around the line of sight from frame to frame."""

TURN = math.radians(3)
"""Angle around the subject from frame to frame."""

DISTANCE = SCALE[2]
"""Distance of the subject that a camera circles, after the scale."""

Pose = Callable[[float], tuple[list[list[float]], list[float]]]
"""Function of the frames since the start, times the speed: rotation and position, after the scale."""


def _moved(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Pose:
    """Poses of a camera that moves without turning; x, y, z is its direction."""

    def pose(way: float):
        moved = [-way * STEP * scale * side for scale, side in zip(SCALE, (x, y, z), strict=True)]
        return [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], moved

    return pose


def _rolled(side: int) -> Pose:
    """Poses of a camera that rolls around its line of sight, to its right for side 1."""

    def pose(way: float):
        cos, sin = math.cos(way * ROLL), side * math.sin(way * ROLL)
        return [[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]], [0.0, 0.0, 0.0]

    return pose


def _circled(side: int) -> Pose:
    """Poses of a camera that circles the subject and looks at it, to its right for side 1."""

    def pose(way: float):
        cos, sin = math.cos(way * TURN), side * math.sin(way * TURN)
        rotation = [[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]]
        return rotation, [-DISTANCE * sin, 0.0, DISTANCE * (1 - cos)]

    return pose


TRACKS = {
    "static": _moved(),
    "pan_left": _moved(x=-1),
    "pan_right": _moved(x=1),
    "pan_up": _moved(y=-1),
    "pan_down": _moved(y=1),
    "zoom_in": _moved(z=1),
    "zoom_out": _moved(z=-1),
    "roll_left": _rolled(-1),
    "roll_right": _rolled(1),
    "orbit_left": _circled(-1),
    "orbit_right": _circled(1),
}
"""Tracks by name."""


def named_track(name: str, num_frames: int, speed: float = 1.0) -> Tensor:
    """The track of a name of TRACKS, float32 (T, 12); the pace does not depend on the number of frames."""
    poses = [TRACKS[name](speed * frame) for frame in range(num_frames)]
    rotations, positions = (_matrix(part) for part in zip(*poses, strict=True))
    return _rows(rotations, positions)


def listed_track(poses: Sequence[Sequence], num_frames: int, speed: float = 1.0) -> Tensor:
    """The track of poses, 12 numbers each or 3 rows of 4: float32 (T, 12).

    Of more poses than frames the ones in the middle count, as in the authors' script. `speed` multiplies
    positions alone. Raises ValueError for too few poses.
    """
    if len(poses) < num_frames:
        raise ValueError(
            f"camera lists {len(poses)} poses; the clip has {num_frames} frames and needs a pose for each."
        )
    first = (len(poses) - num_frames) // 2
    chosen = poses[first : first + num_frames]
    rows = torch.stack([_matrix(pose).reshape(3, 4) for pose in chosen])
    rotations, positions = rows[..., :3], rows[..., 3] * _matrix(SCALE) * speed
    back = rotations[0].T
    rotations = rotations @ back
    return _rows(rotations, positions - rotations @ positions[0])


def _matrix(numbers: Sequence) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64, device="cpu")


def _rows(rotations: Tensor, positions: Tensor) -> Tensor:
    """Rotations, (T, 3, 3), and positions, (T, 3), as rows, float32 (T, 12)."""
    return torch.cat([rotations, positions[..., None]], dim=2).reshape(-1, CAMERA_DIM).float()
