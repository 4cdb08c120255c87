"""Moves of the camera by their names, for who draws nothing."""

from .tracks import Camera

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
}
"""Ways of the camera by the last frame."""
