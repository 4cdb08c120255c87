"""Moves of the camera by their names, for who draws nothing."""

from .tracks import Camera, Motion, with_nearness

MOVES = {
    # The picture goes the other way than the camera.
    "pan left": Camera(pan=(0.15, 0.0)),
    "pan right": Camera(pan=(-0.15, 0.0)),
    "pan up": Camera(pan=(0.0, 0.15)),
    "pan down": Camera(pan=(0.0, -0.15)),
    "zoom in": Camera(zoom=1.25),
    "zoom out": Camera(zoom=0.8),
    "roll left": Camera(roll=10.0),
    "roll right": Camera(roll=-10.0),
    # About what is half near: nearer parts go against the camera, farther ones with it.
    "orbit left": Camera(pan=(0.15, 0.0), pivot=0.5),
    "orbit right": Camera(pan=(-0.15, 0.0), pivot=0.5),
}
"""Ways of the camera by the last frame; those with a pivot go by a nearness map."""


def named_move(name: str, has_nearness: bool) -> Motion:
    """The motion of a name in MOVES; raises ValueError for one that wants a nearness map, without one.

    has_nearness: whether there is the picture NEARNESS.
    """
    motion = Motion(camera=MOVES[name])
    if has_nearness:
        return with_nearness(motion)
    if motion.camera.pivot:
        raise ValueError(
            f"{name} goes by a nearness map, and there is none; give one as nearness, a picture that is "
            "bright where it is near, as any depth model draws it."
        )
    return motion
