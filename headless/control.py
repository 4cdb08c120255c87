"""The pictures that a caller gives a ControlNet."""

from torch import Tensor

from ..clips.plan import Plan
from ..svd_model.checkpoint import Part
from .files import images
from .files.control_frames import Frames, read_frames


def control_pictures(plan: Plan, control: Frames | None, network: Part | None) -> Tensor | None:
    """Control pictures of a clip, (T, 3, H, W) in [−1, 1]; None without any.

    Raises ValueError for pictures without a ControlNet, for another number of them than of frames, and for
    settings of control without pictures.
    """
    if control is None:
        plan.refuse_control()
        return None
    if network is None:
        raise ValueError("there are control frames without a ControlNet; give the pipeline one: control=…")
    return read_control(plan, control)


def read_control(plan: Plan, control: Frames) -> Tensor:
    """Control pictures of a clip, (T, 3, H, W) in [−1, 1]; raises ValueError for another number of them."""
    return plan.control_pictures(map(images.to_tensor, read_frames(control)))
