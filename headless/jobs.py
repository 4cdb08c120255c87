"""Jobs of a run: its inputs and outputs, checked before any work."""

import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..clips.mistakes import Mistakes
from ..svd_model.checkpoint import PARTS
from .files import destinations, latents
from .files.destinations import ExistsError, OutputError
from .files.sources import STANDARD_INPUT, Picture, find_pictures, refuse_url
from .files.videos import check_output

NAME = "{name}"
DEFAULT_EXTENSION = ".mp4"


@dataclass(frozen=True)
class Output:
    """Destination of a result: the user's name for it, and whether it may replace an existing file."""

    name: str
    overwrite: bool

    @property
    def path(self) -> Path:
        """Absolute path, as printed on standard output."""
        return Path(self.name).resolve()


@dataclass(frozen=True)
class Job:
    """One clip: its picture, or None if saved latents are decoded, and the destinations of its results."""

    picture: Picture | None
    outputs: tuple[Output, ...]
    save_latents: Output | None
    save_motion: Output | None = None


_UNKNOWN = Picture(Path("picture"))


def plan_jobs(
    options: Namespace, mistakes: Mistakes, of_motion: Sequence[Path] = ()
) -> tuple[list[Job], list[str]]:
    """Plans the jobs of a command line; returns them and the existing outputs that may not be replaced.

    of_motion: files that its motion is read from. Adds every fault to the mistakes.
    """
    _check_purpose(options, mistakes)
    pictures = find_pictures(options.images, mistakes)
    _check_one_clip(options, pictures, mistakes)
    saved = [options.decode_latents] if options.decode_latents else []
    _check_read(options, mistakes)
    read = [picture.path for picture in pictures if picture.path]
    steering = (options.control, options.control_frames, options.end_frame, *dict(options.keyframe).values())
    parts = (*parts_of(options).values(), options.exvideo, *steering)
    named = (options.checkpoint, *parts, options.scratch, options.resume, *saved)
    moving = (options.motion_video, options.motion_mask, options.freeze, options.nearness)
    looks = (*(name for name, _ in options.reference), options.reference_mask)
    read += [Path(name) for name in (*named, *moving, *looks) if name]
    read += of_motion
    read += [Path(file) for file, *_ in options.lora]
    planned = _Destinations(read, options.overwrite, mistakes)
    sources = pictures or [Picture(Path(name)) for name in saved]
    if not _have_names_each(options, sources, mistakes):
        sources = sources[:1]
    jobs = []
    for source in sources or [_UNKNOWN]:  # checks outputs also if there is no picture
        names = [_fill(name, source) for name in options.output]
        if not names and options.save_latents is None and source is not _UNKNOWN:
            names = planned.default(source)
        save = options.save_latents and planned.latents(_fill(options.save_latents, source))
        outputs = tuple(output for name in names if (output := planned.clip(name)))
        course = options.save_motion and planned.motion(_fill(options.save_motion, source))
        jobs.append(Job(source if pictures else None, outputs, save, course))
    if not sources:  # a name filled in without a picture is not the user's
        planned.existing = [
            name for name in planned.existing if name in (*options.output, options.save_latents)
        ]
    return jobs, planned.existing


def parts_of(options: Namespace) -> dict[str, str]:
    """Files that replace a part of the checkpoint, by part."""
    named = {part: getattr(options, part) for part in PARTS}
    return {part: name for part, name in named.items() if name is not None}


def settle(
    jobs: Sequence[Job], existing: Sequence[str], mistakes: Mistakes, ask: Callable[[str], bool] | None
) -> list[Job]:
    """Returns the jobs with permission to replace the existing outputs that the user agrees to replace.

    ask: puts a yes-or-no question, called only if there are no mistakes; None to ask nothing. Every existing
    output without permission is added to the mistakes.
    """
    can_ask = ask is not None and not mistakes.any
    allowed = {name for name in existing if can_ask and ask(f"{name} is there already. Replace it?")}
    for name in existing:
        if name not in allowed:
            mistakes.add(f"{name} is there already and stays; name another, or add --overwrite.")
    return [_allow(job, allowed) for job in jobs]


class _Destinations:
    """Outputs of a run, each checked against all other outputs and all inputs."""

    def __init__(self, read: Sequence[Path], overwrite: bool, mistakes: Mistakes):
        self._read, self._overwrite, self._mistakes = read, overwrite, mistakes
        self._written: list[Path] = []
        self.existing: list[str] = []  # outputs whose only fault is a file of their name

    def clip(self, name: str) -> Output | None:
        """Plans a clip under a name; None if it can't be written."""
        return self._add(name, lambda: check_output(name, self._overwrite))

    def latents(self, name: str) -> Output | None:
        """Plans a file of latents under a name; None if it can't be written."""
        return self._add(name, lambda: latents.check_destination(Path(name), self._overwrite))

    def motion(self, name: str) -> Output | None:
        """Plans a coarse video under a name, which never replaces anything; None if it can't be written."""
        return self._add(name, lambda: check_output(name), replaces=False)

    def default(self, source: Picture) -> list[str]:
        """Chooses an unused name beside the picture for a clip without --output."""
        if source.path is None:
            self._mistakes.add("a picture on standard input has no name for its clip; give --output.")
            return []
        reserved = {destinations.real(path) for path in self._written}
        return [str(destinations.free_name(source.path.with_suffix(DEFAULT_EXTENSION), reserved))]

    def _add(self, name: str, check: Callable[[], Path], replaces: bool = True) -> Output | None:
        with self._mistakes.collected():
            refuse_url(name)
            if name == STANDARD_INPUT:
                raise OutputError("clips are not written to standard output; name a file or a folder.")
            destinations.check_apart(Path(name), self._read, self._written)
            self._written.append(Path(name))
            try:
                check()
            except ExistsError as error:
                if not replaces:
                    raise OutputError(f"{name} is there already and stays; name another.") from error
                self.existing.append(name)
            # A file that appears later, or is written by this run under another path, is not replaced.
            return Output(name, replaces and self._overwrite and os.path.lexists(name))
        return None


def _check_purpose(options: Namespace, mistakes: Mistakes) -> None:
    if bool(options.images) == (options.decode_latents is not None):
        mistakes.add("give the IMAGE to animate, or latents with --decode-latents, and not both.")
    if (options.control is None) != (options.control_frames is None):
        mistakes.add("--control and --control-frames go together; give both, or neither.")
    times = [frame for frame, _ in options.keyframe]
    for frame in sorted({frame for frame in times if times.count(frame) > 1}):
        mistakes.add(f"--keyframe names frame {frame} {times.count(frame)} times; give it one picture.")
    further = ["--end-frame"] * (options.end_frame is not None) + ["--keyframe"] * bool(options.keyframe)
    if further and options.decode_latents is not None:
        mistakes.add(f"{' and '.join(further)} can't go with --decode-latents, only with an IMAGE.")
    _check_motion(options, mistakes)
    if (options.reference or options.reference_mask) and options.decode_latents is not None:
        mistakes.add("--reference can't go with --decode-latents, only with an IMAGE.")
    if options.control is not None and options.decode_latents is not None:
        mistakes.add("--control goes with an IMAGE, not with --decode-latents.")
    if options.resume is not None and (options.decode_latents is not None or len(options.images) > 1):
        mistakes.add("--resume goes with the one IMAGE of the clip that goes on.")
    if options.save_latents is not None and options.decode_latents is not None:
        mistakes.add("--save-latents goes with an IMAGE, not with --decode-latents.")


def _check_motion(options: Namespace, mistakes: Mistakes) -> None:
    moving = ("motion", "motion_video", "freeze", "nearness")
    chosen = [f"--{name.replace('_', '-')}" for name in moving if getattr(options, name) is not None]
    if chosen and options.decode_latents is not None:
        mistakes.add(f"{' and '.join(chosen)} can't go with --decode-latents, only with an IMAGE.")


def _check_one_clip(options: Namespace, pictures: Sequence[Picture], mistakes: Mistakes) -> None:
    """Adds a mistake for several pictures whose clips would be alike."""
    if options.motion_video is not None and len(pictures) > 1:
        mistakes.add(
            f"--motion-video begins the clip with its own first picture, and there are {len(pictures)} "
            "IMAGEs, whose clips would be alike; give one."
        )


def _check_read(options: Namespace, mistakes: Mistakes) -> None:
    if options.scratch is not None and not os.path.isdir(options.scratch):
        mistakes.add(f"--scratch {options.scratch} is no folder; name one that is there.")


def _have_names_each(options: Namespace, sources: Sequence[Picture], mistakes: Mistakes) -> bool:
    """Whether all clips have names of their own; adds a mistake for each name shared by several clips."""
    names = [("--output", name) for name in options.output]
    names += [
        ("--save-latents", options.save_latents or NAME),
        ("--save-motion", options.save_motion or NAME),
    ]
    shared = [(option, name) for option, name in names if NAME not in name and len(sources) > 1]
    for option, name in shared:
        mistakes.add(
            f"{option} {name} is one name for {len(sources)} clips; put {NAME} in it, which stands for the "
            f"picture's: {_with_name(Path(name))}"
        )
    return not shared


def _with_name(path: Path) -> Path:
    return path.with_name(NAME + path.suffix) if path.suffix else path / NAME


def _fill(name: str, source: Picture) -> str:
    return name.replace(NAME, source.stem)


def _allow(job: Job, allowed: set[str]) -> Job:
    """Returns the job with permission to replace the allowed outputs."""

    def changed(output: Output) -> Output:
        return replace(output, overwrite=output.overwrite or output.name in allowed)

    save = job.save_latents and changed(job.save_latents)
    return replace(job, outputs=tuple(map(changed, job.outputs)), save_latents=save)
