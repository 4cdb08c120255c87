"""The built-in model, pictures it has not seen, and clips that are made once."""

import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stillmotion import builtin_model
from stillmotion.clips.settings import Settings
from stillmotion.headless.pipeline import Pipeline
from training import held_out

ROCKET = Path(__file__).parent.parent.parent / "assets" / "rocket.jpg"
SIZE = 128


class Studio:
    """Animates parts of a photograph that the model has not seen; makes no clip twice.

    A thorough one shows the model at its default of ten steps, in more pictures and at more settings; half
    as many steps are enough to tell a clip from one that a broken part made.
    """

    def __init__(self, thorough: bool):
        self.thorough = thorough
        self.steps = 10 if thorough else 5
        self.chosen = (0, 1, 2) if thorough else (0, 2)
        self.pipeline = Pipeline(builtin_model.load(), device="cpu")
        photograph = Image.open(ROCKET).convert("RGB")
        boxes = ((0, 0, 427, 427), (213, 0, 640, 427), (130, 127, 430, 427))
        crops = [
            photograph.resize((SIZE, SIZE), Image.Resampling.LANCZOS, box=tuple(map(float, box)))
            for box in boxes
        ]
        self.pictures = [np.asarray(crop) for crop in crops]

    @functools.cache  # noqa: B019 (there is one)
    def clip(self, picture: int, **settings) -> np.ndarray:
        """The frames, uint8 (T, H, W, 3); the seed is the picture's number where nothing else is said."""
        settings = {"schedule": "align_your_steps", "steps": self.steps, "seed": picture} | settings
        return self.pipeline.animate(Image.fromarray(self.pictures[picture]), Settings(**settings)).frames

    @functools.cache  # noqa: B019
    def latents(self, picture: int, **settings):
        """The latents alone."""
        return held_out.latents(self.pipeline, self.pictures[picture], picture, **settings)


THOROUGH = (pytest.param(False, id="quick"), pytest.param(True, id="thorough", marks=pytest.mark.long))


@pytest.fixture(scope="session", params=THOROUGH)
def studio(request) -> Studio:
    return Studio(request.param)
