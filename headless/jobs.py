"""What a run reads and where its results go, settled before any work."""

import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..clips.mistakes import Mistakes
from .files import destinations, latents
from .files.destinations import ExistsError, OutputError
from .files.sources import STANDARD_INPUT, Picture, find_pictures, refuse_url
from .files.videos import check_output

NAME = "{name}"
DEFAULT_EXTENSION = ".mp4"


@dataclass(frozen=True)
class Output:
    """Where a result goes, in the user's words, and whether it may replace what lies there."""

    name: str
    overwrite: bool

    @property
    def path(self) -> Path:
        """As it is read on the command's standard output."""
        return Path(self.name).resolve()


@dataclass(frozen=True)
class Job:
    """One clip: its picture, or None where saved latents are decoded, and where its results go."""

    picture: Picture | None
    outputs: tuple[Output, ...]
    save_latents: Output | None


_UNKNOWN = Picture(Path("picture"))


def plan(options: Namespace, mistakes: Mistakes) -> tuple[list[Job], list[str]]:
    """The jobs of a command line, and those of their outputs that are there already and stay as it is.

    What is wrong is added to the mistakes.
    """
    _check_purpose(options, mistakes)
    pictures = find_pictures(options.images, mistakes)
    saved = [options.decode_latents] if options.decode_latents else []
    _check_read(options, mistakes)
    read = [picture.path for picture in pictures if picture.path]
    read += [Path(name) for name in (options.checkpoint, options.scratch, *saved) if name]
    planned = _Destinations(read, options.overwrite, mistakes)
    sources = pictures or [Picture(Path(name)) for name in saved]
    if not _have_names_each(options, sources, mistakes):
        sources = sources[:1]
    jobs = []
    for source in sources or [_UNKNOWN]:  # outputs are looked at also where there is nothing to read
        names = [_fill(name, source) for name in options.output]
        if not names and options.save_latents is None and source is not _UNKNOWN:
            names = planned.default(source)
        save = options.save_latents and planned.latents(_fill(options.save_latents, source))
        outputs = tuple(output for name in names if (output := planned.clip(name)))
        jobs.append(Job(source if pictures else None, outputs, save))
    if not sources:  # an output filled in with no picture's name is not one of the user's
        planned.there = [name for name in planned.there if name in (*options.output, options.save_latents)]
    return jobs, planned.there


def settle(
    jobs: Sequence[Job], there: Sequence[str], mistakes: Mistakes, ask: Callable[[str], bool] | None
) -> list[Job]:
    """The jobs with leave to replace the outputs that are there, where the user says so; else mistakes.

    `ask` puts a question of yes or no, and only where nothing else is wrong.
    """
    can_ask = ask is not None and not mistakes.any
    allowed = {name for name in there if can_ask and ask(f"{name} is there already. Replace it?")}
    for name in there:
        if name not in allowed:
            mistakes.add(f"{name} is there already and stays; name another, or add --overwrite.")
    return [_allow(job, allowed) for job in jobs]


class _Destinations:
    """The outputs of a run, each held against all others and against what is read."""

    def __init__(self, read: Sequence[Path], overwrite: bool, mistakes: Mistakes):
        self._read, self._overwrite, self._mistakes = read, overwrite, mistakes
        self._written: list[Path] = []
        self.there: list[str] = []  # outputs that could be, but for what is there

    def clip(self, name: str) -> Output | None:
        """A clip of that name; None where it can't be."""
        return self._add(name, lambda: check_output(name, self._overwrite))

    def latents(self, name: str) -> Output | None:
        """A file of latents of that name; None where it can't be."""
        return self._add(name, lambda: latents.check_destination(Path(name), self._overwrite))

    def default(self, source: Picture) -> list[str]:
        """Where a clip goes that nobody named: beside its picture, under a name that is free."""
        if source.path is None:
            self._mistakes.add("a picture on standard input has no name for its clip; give --output.")
            return []
        taken = {destinations.real(path) for path in self._written}
        return [str(destinations.free_name(source.path.with_suffix(DEFAULT_EXTENSION), taken))]

    def _add(self, name: str, check: Callable[[], Path]) -> Output | None:
        with self._mistakes.collected():
            refuse_url(name)
            if name == STANDARD_INPUT:
                raise OutputError("clips are not written to standard output; name a file or a folder.")
            destinations.check_apart(Path(name), self._read, self._written)
            self._written.append(Path(name))
            try:
                check()
            except ExistsError:
                self.there.append(name)
            # What comes later, or is written by this run under a name that leads to the same file, stays.
            return Output(name, self._overwrite and os.path.lexists(name))
        return None


def _check_purpose(options: Namespace, mistakes: Mistakes) -> None:
    if bool(options.images) == (options.decode_latents is not None):
        mistakes.add("give the IMAGE to animate, or latents with --decode-latents, and not both.")
    if options.save_latents is not None and options.decode_latents is not None:
        mistakes.add("--save-latents goes with an IMAGE, not with --decode-latents.")


def _check_read(options: Namespace, mistakes: Mistakes) -> None:
    if options.scratch is not None and not os.path.isdir(options.scratch):
        mistakes.add(f"--scratch {options.scratch} is no folder; name one that is there.")


def _have_names_each(options: Namespace, sources: Sequence[Picture], mistakes: Mistakes) -> bool:
    """Whether no two clips would have one name; a mistake for each name that is one for several."""
    given = [("--output", name) for name in options.output]
    given += [("--save-latents", options.save_latents or NAME)]
    shared = [(option, name) for option, name in given if NAME not in name and len(sources) > 1]
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
    """The job with leave to replace those outputs."""

    def changed(output: Output) -> Output:
        return replace(output, overwrite=output.overwrite or output.name in allowed)

    save = job.save_latents and changed(job.save_latents)
    return replace(job, outputs=tuple(map(changed, job.outputs)), save_latents=save)
