"""One picture becomes one clip, by one run: SVD, and SV3D's orbits."""

from torch import Tensor

from ..plan import Plan
from . import Decode, Encode, Recipe, Sample


def animate(
    plan: Plan, picture: Tensor, start: Tensor | None = None, control: Tensor | None = None
) -> Recipe:
    """The clip of a picture that `plan.canvas` fitted; `start`, (T, 4, h, w), replaces the seed's noise.

    control: pictures for a ControlNet, which `plan.control_pictures` fitted.
    """
    context, concat = yield Encode(picture, plan.noisy(picture))
    sampled = yield Sample(plan.run(plan.conditions(context, concat), start, control))
    last_frame, settings = picture if plan.orbit else None, plan.settings
    yield Decode(plan.finished(sampled), settings.frame_wise_decode, last_frame, settings.ring)
