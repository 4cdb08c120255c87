"""The recipe of a plan: one run under a picture, several between pictures, or a loop."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..motion.course import Course
from ..plan import Plan
from ..references import Look
from . import Embed, Recipe, Step
from .animate import animate
from .inbetween import inbetween, loop

Reference = tuple[Tensor, float]
"""A picture that `plan.canvas` fitted, and its weight."""


def clip(
    plan: Plan,
    pictures: Mapping[int, Tensor],
    start: Tensor | None = None,
    control: Tensor | None = None,
    kept: Tensor | None = None,
    course: Course | None = None,
    references: Sequence[Reference] = (),
    mask: Tensor | None = None,
) -> Recipe:
    """The clip of pictures that `plan.canvas` fitted, by their frames: 0, and the keyframes of the plan.

    `start`, (T, 4, h, w), replaces the seed's noise. `control` steers a clip of one run. kept: latents after
    which a long clip goes on. course: what a clip of one picture follows. references: further pictures of the
    clip's size with their weights, which lead its look where the mask, (1, 1, H, W), is 1, or everywhere.
    """
    if references:
        plan = replace(plan, look=(yield from looked_at(references, mask)))
    if plan.keyframes:
        yield from inbetween(plan, pictures)
    elif plan.settings.loop is not None:
        yield from loop(plan, pictures[0], start)
    else:
        yield from animate(plan, pictures[0], start, control, kept, course)


def looked_at(references: Sequence[Reference], mask: Tensor | None = None) -> Generator[Step, Any, Look]:
    """Embeds references."""
    tokens = []
    for picture, _ in references:
        tokens.append((yield Embed(picture)))
    return Look(tuple(tokens), tuple(weight for _, weight in references), mask)
