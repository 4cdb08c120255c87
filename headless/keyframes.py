"""The pictures of a clip after its first one: read and fitted before any work."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..clips.plan import Plan
from .files import images
from .files.images import ImageError, Picture
from .files.sources import existing


def by_frame(keyframes: Mapping[int, Picture] | None) -> Mapping[int, Picture]:
    """The caller's pictures by their frames, empty for None; raises ValueError for another kind of value."""
    if keyframes is not None and not isinstance(keyframes, Mapping):
        raise ValueError(
            f"keyframes is a {type(keyframes).__name__}; give a dict of pictures by their frames."
        )
    return keyframes or {}


def fitted(plan: Plan, keyframes: Mapping[int, Picture], end_frame: Picture | None) -> dict[int, Tensor]:
    """Pictures by their frames, (1, 3, H, W) in [−1, 1] each; raises ImageError for an unreadable one."""
    sources = {f"keyframe {frame}": (frame, picture) for frame, picture in keyframes.items()}
    if end_frame is not None:
        sources["the end frame"] = (plan.keyframes[-1], end_frame)
    pictures = {}
    for name, (frame, picture) in sources.items():
        try:
            pictures[frame] = plan.canvas(images.to_tensor(images.read_image(picture)))
        except ImageError as error:
            raise ImageError(f"{name}: {error}") from error
    return pictures


def read_keyframes(options: Namespace, plan: Plan | None) -> dict[int, Tensor]:
    """Pictures after the first by their frames; without a plan it is only seen that they are there."""
    names = dict(options.keyframe)
    for name in (*names.values(), *filter(None, [options.end_frame])):
        existing(name)
    return fitted(plan, names, options.end_frame) if plan else {}


def notes_of(keyframes: Mapping[int, str], end_frame: str | None) -> dict:
    """Names of the pictures' files for a clip's metadata, without folders, which are private."""
    notes = {} if end_frame is None else {"end_frame": Path(end_frame).name}
    if keyframes:
        notes["keyframes"] = {str(frame): Path(keyframes[frame]).name for frame in sorted(keyframes)}
    return notes
