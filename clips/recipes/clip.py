"""The recipe of a plan: one run under a picture, several between pictures, or a loop."""

from collections.abc import Mapping

from torch import Tensor

from ..motion.course import Course
from ..plan import Plan
from . import Recipe
from .animate import animate
from .inbetween import inbetween, loop


def clip(
    plan: Plan,
    pictures: Mapping[int, Tensor],
    start: Tensor | None = None,
    control: Tensor | None = None,
    kept: Tensor | None = None,
    course: Course | None = None,
) -> Recipe:
    """The clip of pictures that `plan.canvas` fitted, by their frames: 0, and the keyframes of the plan.

    `start`, (T, 4, h, w), replaces the seed's noise. `control` steers a clip of one run. kept: latents after
    which a long clip goes on. course: what a clip of one picture follows.
    """
    if plan.keyframes:
        return inbetween(plan, pictures)
    if plan.settings.loop is not None:
        return loop(plan, pictures[0], start)
    return animate(plan, pictures[0], start, control, kept, course)
