"""One picture becomes one clip: SVD, for any number of frames, and SV3D's orbits."""

from collections.abc import Generator
from typing import Any

from torch import Tensor

from ..choices_over_time import CHUNKED
from ..conditions import Conditions
from ..plan import Plan
from . import Decode, Encode, Recipe, Sample, Step
from .extend import extend


def animate(
    plan: Plan,
    picture: Tensor,
    start: Tensor | None = None,
    control: Tensor | None = None,
    kept: Tensor | None = None,
) -> Recipe:
    """The clip of a picture that `plan.canvas` fitted.

    `start`, (T, 4, h, w), replaces the seed's noise of a run. control: pictures for a ControlNet, which
    `plan.control_pictures` fitted. kept: latents of a Keep, after which a long clip goes on.
    """
    context, concat = yield Encode(picture, plan.noisy(picture))
    latents = yield from sampled(plan, plan.conditions(context, concat), start, control, kept)
    last_frame, settings = picture if plan.orbit else None, plan.settings
    yield Decode(plan.finished(latents), settings.frame_wise_decode, last_frame, settings.ring)


def sampled(
    plan: Plan,
    pictured: Conditions,
    start: Tensor | None = None,
    control: Tensor | None = None,
    kept: Tensor | None = None,
) -> Generator[Step, Any, Tensor]:
    """Samples the clip of an encoded picture, in as many runs as it takes; returns its latents."""
    if plan.settings.long in CHUNKED:
        return (yield from extend(plan, pictured, start, kept))
    return (yield Sample(plan.run(pictured, start, control)))
