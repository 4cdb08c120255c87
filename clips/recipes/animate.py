"""One picture becomes one clip: SVD, for any number of frames, and SV3D's orbits."""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..choices_over_time import CHUNKED
from ..conditions import Conditions
from ..motion.course import Course, constraint_of, paste_of
from ..plan import Plan
from ..run import Constraint
from . import Decode, Encode, Latent, Recipe, Sample, Step
from .extend import extend


def animate(
    plan: Plan,
    picture: Tensor,
    start: Tensor | None = None,
    control: Tensor | None = None,
    kept: Tensor | None = None,
    course: Course | None = None,
) -> Recipe:
    """The clip of a picture that `plan.canvas` fitted.

    `start`, (T, 4, h, w), replaces the seed's noise of a run. control: pictures for a ControlNet, which
    `plan.control_pictures` fitted. kept: latents of a Keep, after which a long clip goes on. course: what it
    follows, of a plan that knows of it.
    """
    context, concat = yield Encode(picture, plan.noisy(picture))
    constraint = paste = None
    if course is not None:
        constraint = yield from constrained(plan, picture, course)
        paste = paste_of(course, picture)
    pictured = plan.conditions(context, concat)
    latents = yield from sampled(plan, pictured, start, control, kept, constraint)
    last_frame, settings = picture if plan.orbit else None, plan.settings
    options = (settings.frame_wise_decode, last_frame, settings.ring, paste, plan.first_frame(picture))
    yield Decode(plan.finished(latents), *options)


def constrained(plan: Plan, picture: Tensor, course: Course) -> Generator[Step, Any, Constraint]:
    """Encodes what a clip follows."""
    moved = still = None
    if course.frames is not None:
        moved = yield Latent(course.frames)
    if course.frozen is not None:
        still = yield Latent(picture)
    return constraint_of(course, moved, still, plan.settings.hold_until)


def sampled(
    plan: Plan,
    pictured: Conditions,
    start: Tensor | None = None,
    control: Tensor | None = None,
    kept: Tensor | None = None,
    constraint: Constraint | None = None,
) -> Generator[Step, Any, Tensor]:
    """Samples the clip of an encoded picture, in as many runs as it takes; returns its latents."""
    if plan.settings.long in CHUNKED:
        return (yield from extend(plan, pictured, start, kept, constraint))
    return (yield Sample(replace(plan.run(pictured, start, control), constraint=constraint)))
