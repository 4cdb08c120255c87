"""What a user moves and keeps still: read from JSON, videos and pictures, and fitted to a clip."""

import json
import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from ..clips.choices import MOST_FRAMES
from ..clips.fields import shortened
from ..clips.frames import one_each
from ..clips.mistakes import did_you_mean
from ..clips.motion import coarse, tracks
from ..clips.motion.course import Course, of_motion, of_video
from ..clips.motion.fitting import fitted, sides
from ..clips.motion.moves import MOVES, named_move
from ..clips.motion.tracks import FREEZE, Motion
from ..clips.plan import Plan
from .files import images
from .files.control_frames import Frames, read_frames
from .files.images import ImageError, Picture
from .files.sources import existing

NAMED = ("motion", "motion_video", "motion_mask", "freeze", "nearness")
"""Options that name files of a motion."""


class MotionVideo(NamedTuple):
    """A coarse video of the user's own, and its mask: white where the clip follows it."""

    frames: Frames
    mask: Frames


@dataclass(frozen=True)
class Directions:
    """What a user moves and keeps still, read but not yet fitted to a clip."""

    motion: Motion | None = None
    file: Path | None = None  # of the motion
    unknown: tuple[str, ...] = ()  # keys of the motion that mean nothing
    video: MotionVideo | None = None
    freeze: Picture | None = None
    nearness: Picture | None = None  # of the motion's camera, in place of its own
    filmed: Course | None = None  # of the video, fitted to a clip

    @property
    def moves(self) -> bool:
        """Whether something is moved, or held in its place."""
        if self.motion is None:
            return self.video is not None
        return self.motion.camera.moves or any(region.kind != FREEZE for region in self.motion.regions)

    @property
    def freezes(self) -> bool:
        """Whether something is kept as the picture has it."""
        drawn = self.motion is not None and any(region.kind == FREEZE for region in self.motion.regions)
        return drawn or self.freeze is not None

    @property
    def folder(self) -> Path:
        """The folder of the pictures that the motion names."""
        return Path() if self.file is None else self.file.parent

    @property
    def files(self) -> list[Path]:
        """The motion's file, and the pictures that it names."""
        named = [] if self.motion is None else [self.folder / name for name in _names(self.motion)]
        return named if self.file is None else [self.file, *named]

    def doubts(self, plan: Plan) -> Iterator[str]:
        """A sentence for each thing that the user may have meant otherwise."""
        if self.motion is not None:
            size = plan.settings.width, plan.settings.height
            yield from tracks.doubts(self.motion, self.unknown, *size)

    def checked(self, plan: Plan) -> "Directions":
        """Directions whose video is fitted to a clip, read once.

        Raises ValueError for what needs no picture to be wrong: areas without a pixel, another length.
        """
        if self.video is not None:
            return replace(self, filmed=_filmed(self.video, plan))
        for region in () if self.motion is None else self.motion.regions:
            if region.mask is None:
                coarse.area_of(region, plan.settings.height, plan.settings.width, {})
        return self

    def course(self, plan: Plan, image: Image.Image) -> tuple[Tensor, Course | None]:
        """The picture that the clip begins with, (1, 3, H, W) in [−1, 1], and the course that it follows.

        Raises ValueError for masks of another size, or without a pixel.
        """
        picture = plan.canvas(images.to_tensor(image))
        if not (self.moves or self.freezes):
            return picture, None

        def fit(name: str, source: Picture) -> Tensor:
            return _fitted(name, source, plan, image.size)

        frozen = None if self.freeze is None else fit("the freeze mask", self.freeze)[None]
        if frozen is not None and not frozen.any():
            raise ValueError("the freeze mask is black; paint white what is to stay still.")
        if self.video is not None:
            course = replace(self.filmed or _filmed(self.video, plan), frozen=frozen)
            return course.frames[:1], course
        motion = self.motion or Motion()
        sources = {name: fit(f"{name} of the motion", self.folder / name) for name in _names(motion)}
        if self.nearness is not None:
            sources[tracks.NEARNESS] = fit("the nearness map", self.nearness)
        return picture, of_motion(motion, picture, plan.settings.num_frames, sources, frozen)


def directions(
    motion: str | os.PathLike[str] | Mapping | MotionVideo | None,
    freeze: Picture | None = None,
    nearness: Picture | None = None,
) -> Directions:
    """Reads a caller's motion and the mask of what stays still; raises ValueError for what is none.

    motion: the path of a .json file, its content as a dict, the name of a camera move, or a MotionVideo. The
    pictures that it names lie in the folder of the file; of a dict, in the current one. nearness: a picture,
    bright where it is near, for a camera that pans.
    """
    for picture in (freeze, nearness):
        if isinstance(picture, str | os.PathLike):
            existing(picture)
    if motion is None or isinstance(motion, MotionVideo):
        if nearness is not None:
            raise ValueError("nearness goes with a motion whose camera pans; give one, or leave it out.")
        return Directions(video=motion, freeze=freeze)
    path = None
    if isinstance(motion, Mapping):
        try:
            text = json.dumps(dict(motion))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"the motion can't become JSON ({error}); give plain numbers.") from error
    elif isinstance(motion, str | os.PathLike) and os.fspath(motion).lower().endswith(".json"):
        path = existing(motion)
        text = _text_of(path)
    else:
        return Directions(_move(motion, nearness is not None), freeze=freeze, nearness=nearness)
    drawn, unknown = tracks.parse(text)
    drawn = drawn if nearness is None else tracks.with_nearness(drawn)
    found = Directions(drawn, path, tuple(unknown), freeze=freeze, nearness=nearness)
    for name in _names(drawn):
        _check_inside(name, found.folder)
    return found


def as_frames(course: Course) -> Iterator[np.ndarray]:
    """The coarse video of a course as it is written, uint8 (H, W, 3) each."""
    for frame in course.frames:
        yield images.to_uint8(frame[None])[0]


def notes_of_motion(options: Namespace) -> dict[str, str]:
    """Names of a motion's files for a clip's metadata, without folders, which are private."""
    named = {name: getattr(options, name) for name in NAMED}
    return {name: Path(file).name for name, file in named.items() if file is not None}


def of_options(options: Namespace) -> Directions:
    """Reads what a command line says of motion; raises ValueError for options that don't go together."""
    motion, video = options.motion, None
    if (options.motion_video is None) != (options.motion_mask is None):
        raise ValueError("--motion-video and --motion-mask go together; give both, or neither.")
    if options.motion_video is not None:
        video = MotionVideo(options.motion_video, options.motion_mask)
    if motion is not None and video is not None:
        raise ValueError("--motion draws a coarse video, and --motion-video is one; give one of them.")
    found = directions(motion if video is None else video, options.freeze, options.nearness)
    if options.save_motion is not None and not found.moves:
        raise ValueError(
            "--save-motion writes the coarse video of a motion, and nothing moves here; give --motion or "
            "--motion-video, or leave it out."
        )
    return found


def _move(name: object, has_nearness: bool) -> Motion:
    """The camera move of a name, which may have _ for a space."""
    meant = name.replace("_", " ") if isinstance(name, str) else name
    if not isinstance(meant, str) or meant not in MOVES:
        close = did_you_mean(meant, MOVES) or "."
        raise ValueError(
            f"the motion is {shortened(name)}; accepted are a .json file, and {', '.join(MOVES)}{close}"
        )
    return named_move(meant, has_nearness)


def _text_of(path: Path) -> str:
    """The text of a file of a motion."""
    if not path.is_file():  # nor a pipe, which would be waited for
        raise ValueError(f"{path} is no file; give the .json file of a motion.")
    with path.open("rb") as file:
        content = file.read(tracks.MOST_BYTES + 1)
    if len(content) > tracks.MOST_BYTES:
        raise ValueError(f"{path} has over {tracks.MOST_BYTES:,} bytes; no motion has as many.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason}); save it as JSON.") from error


def _names(motion: Motion) -> list[str | int]:
    """Pictures that a motion names, each once."""
    named = [*(region.mask for region in motion.regions), motion.camera.nearness]
    return list(dict.fromkeys(name for name in named if name not in (None, tracks.NEARNESS)))


def _check_inside(name: str | int, folder: Path) -> None:
    """Raises ValueError for a picture that is no file of a folder."""
    if not isinstance(name, str):
        raise ValueError(
            f"the motion names the picture {name} by its number, which goes with nodes; name a file."
        )
    root = os.path.realpath(folder)
    inside = "\0" not in name and os.path.realpath(folder / name).startswith(os.path.join(root, ""))
    if os.path.isabs(name) or not inside:
        raise ValueError(
            f"the motion names {shortened(name)}, which is outside of the folder of its file; put the "
            "picture there, and name it without a path."
        )
    existing(folder / name)


def _fitted(name: str, source: Picture, plan: Plan, size: tuple[int, int] | None = None) -> Tensor:
    """A greyscale picture at the size of a clip, (1, H, W) in [0, 1].

    size: width and height of the input picture; of this size or the clip's it must be. None accepts any.
    """
    try:
        picture = images.read_image(source)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    clip = plan.settings.width, plan.settings.height
    return fitted(name, _of_mask(picture), size or picture.size, clip, plan.settings.fit)


def fitted_mask(name: str, source: Picture, plan: Plan) -> Tensor:
    """A mask of any size, fitted as the picture is, (1, 1, H, W) in [0, 1].

    Raises ValueError for a black one.
    """
    mask = _fitted(name, source, plan)[None]
    if not mask.any():
        raise ValueError(f"{name} is black; paint white where it counts.")
    return mask


def _of_mask(picture: Image.Image) -> Tensor:
    """Pixels of a mask, (3, H, W) in [0, 1], over black: what is transparent is not painted."""
    pixels = images.to_tensor(picture)
    return pixels[:3] * pixels[3:] if len(pixels) == 4 else pixels


def _filmed(video: MotionVideo, plan: Plan) -> Course:
    """The course of a user's own video; raises ValueError for another length, or a mask of another size."""
    seen: dict[str, set[tuple[int, int]]] = {"motion video": set(), "motion mask": set()}

    def read(what: str, source: Frames, pixels: Callable[[Image.Image], Tensor], alone: bool) -> Tensor:
        def fit(picture: Image.Image) -> Tensor:
            seen[what].add(picture.size)
            return plan.canvas(pixels(picture))

        pictures, count = read_frames(source), plan.settings.num_frames
        return one_each(pictures, count, MOST_FRAMES, fit, f"pictures of the {what}", alone)

    frames = read("motion video", video.frames, images.to_tensor, alone=False)
    mask = read("motion mask", video.mask, _of_mask, alone=True)
    if len(set.union(*seen.values())) > 1:
        sizes = " and ".join(
            f"{what} {', '.join(map(sides, sorted(of_one)))}" for what, of_one in seen.items()
        )
        raise ValueError(f"motion video and mask have several sizes ({sizes}); give all pictures one size.")
    return of_video(frames, mask)
