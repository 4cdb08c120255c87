"""The rows of settings for motion that the user decides: at which noise levels a clip follows it."""

from dataclasses import dataclass

from . import presets
from .choices import HIGHEST_SIGMA
from .choices_over_time import ChoicesOverTime
from .fields import Number, setting

MOTION = "motion"
MOVABLE = ("svd", "motionctrl")
"""Conditionings of the checkpoints that follow a motion."""


@dataclass(frozen=True)
class ChoicesOfMotion(ChoicesOverTime):
    """The rows of clips that follow a coarse video, after all others."""

    hold_from: float | None = setting(
        None,
        Number(0.01, HIGHEST_SIGMA),
        MOTION,
        "the noise level at which a clip with a motion begins: higher, and the rest moves more freely",
        usual=presets.holds(0),
        only=MOVABLE,
    )
    hold_until: float | None = setting(
        None,
        Number(0, HIGHEST_SIGMA),
        MOTION,
        "the noise level down to which it follows the motion: lower is closer and stiffer; as high as the "
        "other, it only starts from it",
        usual=presets.holds(1),
        only=MOVABLE,
    )
