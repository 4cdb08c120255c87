"""One picture becomes one clip: SVD, for any number of frames, and SV3D's orbits."""

from torch import Tensor

from ..choices_over_time import CHUNKED
from ..plan import Plan
from . import Decode, Encode, Recipe, Sample
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
    pictured, settings = plan.conditions(context, concat), plan.settings
    if settings.long in CHUNKED:
        sampled = yield from extend(plan, pictured, start, kept)
    else:
        sampled = yield Sample(plan.run(pictured, start, control))
    last_frame = picture if plan.orbit else None
    yield Decode(plan.finished(sampled), settings.frame_wise_decode, last_frame, settings.ring)
