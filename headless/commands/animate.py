"""The command `animate`: from the options to the written files."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from torch import Tensor

from ... import builtin_model
from ...clips.control import numbers
from ...clips.mistakes import Mistakes
from ...clips.plan import Plan
from ...clips.recipes import Decode, Keep, Step, drive
from ...clips.recipes.clip import clip as recipe
from ...clips.settings import FIELDS, Settings
from ...svd_model.adapters.lora import Applied
from ...svd_model.checkpoint import Checkpoint, Part
from ...svd_model.checkpoint.controlnet import check_fits, open_controlnet
from ...svd_model.checkpoint.official_files import OFFICIAL_FILES
from ...svd_model.checkpoint.sources import AnotherFileWanted
from .. import references
from ..control import read_control
from ..engine import memory
from ..files import latents
from ..files.hashes import sha256
from ..files.sources import existing
from ..files.videos import write_videos
from ..jobs import Job, Output, parts_of, plan_jobs, settle
from ..keyframes import notes_of, read_keyframes
from ..motion import Directions, as_frames, notes_of_motion, of_options
from ..pipeline import Pipeline
from ..progress import ProgressBars
from . import kept, ranks
from .checkpoints import open_checkpoint, open_pipeline, read_loras

KEEP_LATENTS = "--save-latents keeps what is sampled, should decoding fail."


@dataclass(frozen=True)
class _Inputs:
    """What the clips of a command have in common."""

    plan: Plan
    keyframes: dict[int, Tensor]  # pictures after the first, by their frames
    control: Tensor | None  # pictures for a ControlNet
    resumed: latents.SavedLatents | None  # of a long clip that goes on
    moving: Directions
    look: references.Fitted


def animate(
    options: Namespace,
    mistakes: Mistakes,
    say: Callable[[str], None],
    ask: Callable[[str], bool] | None = None,
) -> Iterator[Path]:
    """Animates pictures or decodes latents, and yields each file once it is written.

    `say` takes notices and warnings, `ask` a question of yes or no, where there is somebody to ask. Raises
    ValueError with all mistakes before any work. A picture with an error does not stop the next ones.
    """
    saved = resumed = checkpoint = plan = control = pictures = keyframes = loras = moving = look = None
    with mistakes.collected():
        moving = of_options(options)
    jobs, existing = plan_jobs(options, mistakes, moving.files if moving else ())
    settings = _settings(options, mistakes)
    with mistakes.collected():
        saved = _read_latents(options.decode_latents)
    with mistakes.collected():
        checkpoint = _open_checkpoint(options, saved)
    with mistakes.collected():
        if checkpoint and settings and moving:
            plan = _plan(options, checkpoint, settings, moving)
            moving = moving.checked(plan)
            ranks.check_work(options, plan, checkpoint)
    with mistakes.collected():
        resumed = _resumed(options, plan)
    with mistakes.collected():
        control = _open_control(options, checkpoint)
    with mistakes.collected():
        pictures = plan and _read_control_frames(options, plan)
    with mistakes.collected():
        keyframes = read_keyframes(options, plan)
    with mistakes.collected():
        look = references.of_options(options, plan)
    with mistakes.collected():
        loras = read_loras(checkpoint, options)
    jobs = settle(jobs, existing, mistakes, ask)
    mistakes.raise_any()
    notices = [f"{builtin_model.NOTICE} Name the file with --checkpoint."] * (options.checkpoint is None)
    for notice in (*notices, *(applied.lora.report for applied in loras)):
        say(notice)
    with ranks.joined(options) as together, closing(ProgressBars(ranks.is_first(options))) as bars:
        where = {"device": options.device, "ranks": together}
        pipeline = open_pipeline(checkpoint, loras, options, bars, control=control, **where)
        if saved is None:
            inputs = _Inputs(plan, keyframes, pictures, resumed, moving, look)
            yield from _animate_pictures(pipeline, inputs, jobs, options, say, bars)
        else:
            yield from _decode_latents(pipeline, plan.settings, saved, jobs[0], options, say, bars)


def _read_latents(file: str | None) -> latents.SavedLatents | None:
    if file is None:
        return None
    path = existing(file)
    try:
        return latents.read(path)
    except AnotherFileWanted as error:
        raise ValueError(f"{error} --save-latents writes such files.") from error


def _resumed(options: Namespace, plan: Plan | None) -> latents.SavedLatents | None:
    """Latents of a long clip that goes on; without a plan it is only seen that they are some."""
    saved = _read_latents(options.resume)
    if saved is not None and plan is not None:
        kept.check(Path(options.resume), saved, plan, with_notes=not options.no_metadata)
    return saved


def _open_checkpoint(options: Namespace, saved: latents.SavedLatents | None) -> Checkpoint:
    if options.checkpoint is None and (parts := parts_of(options)):
        named = " and ".join(f"--{part.replace('_', '-')}" for part in parts)
        raise ValueError(f"{named} would replace a part of a checkpoint; name that one with --checkpoint.")
    if options.checkpoint is None and options.exvideo is not None:
        raise ValueError("--exvideo goes over svd_xt; name that file with --checkpoint.")
    if options.checkpoint is None:
        origin = saved.notes.get("checkpoint", builtin_model.NAME) if saved else builtin_model.NAME
        if origin != builtin_model.NAME:
            raise ValueError(
                f"these latents were sampled with {origin}; give a --checkpoint to decode them with."
            )
        checkpoint = builtin_model.load()
    else:
        checkpoint = open_checkpoint(options.checkpoint, options)
    if options.orbit and not checkpoint.variant.orbit:
        raise ValueError(
            f"--orbit goes with sv3d_u and sv3d_p; {checkpoint.file.path} is {checkpoint.variant.name}. "
            + OFFICIAL_FILES
        )
    return checkpoint


def _plan(options: Namespace, checkpoint: Checkpoint, settings: Settings, moving: Directions) -> Plan:
    frames, ends = [frame for frame, _ in options.keyframe], options.end_frame is not None
    plan = Plan.of(settings, checkpoint.variant, frames, ends, moving.moves, moving.freezes)
    plan.check_network(checkpoint.unet.params)
    return plan


def _open_control(options: Namespace, checkpoint: Checkpoint | None) -> Part | None:
    if options.control is None:
        return None
    control = open_controlnet(existing(options.control))
    if checkpoint is not None:
        check_fits(control, checkpoint.unet.params)
    return control


def _read_control_frames(options: Namespace, plan: Plan) -> Tensor | None:
    if options.control_frames is None:
        if options.control is None:
            plan.refuse_control()
        return None
    return read_control(plan, options.control_frames)


def _settings(options: Namespace, mistakes: Mistakes) -> Settings | None:
    """The user's options as settings; None for options with mistakes."""
    chosen = {name: value for name, value in vars(options).items() if name in FIELDS}
    if options.decode_latents is not None:
        useless = sorted(chosen.keys() - {"fps", "frame_wise_decode", "ring"}) + ["lora"] * bool(options.lora)
        useless += ["exvideo"] * (options.exvideo is not None)
        if useless:
            mistakes.add(
                f"{', '.join(useless)} can't be given with --decode-latents: that is settled already."
            )
    with mistakes.collected():
        settings = Settings(**chosen)
        settings.check()
        return settings
    return None


def _animate_pictures(
    pipeline: Pipeline,
    inputs: _Inputs,
    jobs: Sequence[Job],
    options: Namespace,
    say: Callable[[str], None],
    bars: ProgressBars,
) -> Iterator[Path]:
    """Animates picture after picture; of several, an error is reported and the next one begins."""
    size, frame_wise = pipeline.latent_size(inputs.plan), inputs.plan.settings.frame_wise_decode
    stages = {"decode": bool(jobs[0].outputs)}  # which all jobs have, or none
    stages["at_once"] = max(inputs.plan.run_frames)
    pipeline.fit.check(size, frame_wise, **stages)
    needed = pipeline.fit.needed(size, frame_wise, **stages)
    _warn_of_shortage(needed, pipeline, say)
    doubts = (*inputs.plan.doubts(), *inputs.moving.doubts(inputs.plan), *ranks.doubts(options, inputs.plan))
    for doubt in doubts:
        say(f"warning: {doubt}")
    origin, failed = cache(partial(_origin, pipeline, bars)), 0  # gigabytes are hashed once for all pictures
    for number, job in enumerate(jobs, start=1):
        if len(jobs) > 1:
            say(f"{job.picture.name}: {number} of {len(jobs)}")
        try:
            yield from _animate_picture(pipeline, inputs, origin, job, options, say)
            if pipeline.ranks is not None:
                pipeline.ranks.wait()  # for the one that writes
        except (ValueError, OSError) as error:
            if len(jobs) == 1 or pipeline.ranks is not None:  # which would no longer go in step
                raise
            failed += 1
            say(f"error: {error}")
    if failed:
        raise ValueError(f"{failed} of {len(jobs)} pictures were not animated; why is said above.")


def _animate_picture(
    pipeline: Pipeline,
    inputs: _Inputs,
    origin: Callable[[], dict],
    job: Job,
    options: Namespace,
    say: Callable[[str], None],
) -> Iterator[Path]:
    plan, image = inputs.plan, job.picture.read()
    if plan.orbit and image.mode == "RGB":
        say(f"{job.picture.name} has no transparency; SV3D wants a cut-out object, on white.")
    picture, course = inputs.moving.course(plan, image)
    notes = None if options.no_metadata else _notes(pipeline, inputs, origin, job, options)
    clip, seen = None, (picture, *inputs.look.pictures)
    if inputs.resumed is not None:
        clip = kept.checked(Path(options.resume), inputs.resumed, notes, plan, seen, pipeline)
    if job.save_motion is not None:
        yield from _write([job.save_motion], as_frames(course), plan.settings.fps, notes, pipeline)
    written = []

    def save(step: Keep | Decode) -> None:
        beside = (step.last_frame, step.paste, step.first) if isinstance(step, Decode) else ()
        told = kept.with_progress(notes, step.latents, seen, pipeline) if isinstance(step, Keep) else notes
        overwrite = job.save_latents.overwrite or bool(written)  # what this run wrote
        file = Path(job.save_latents.name)
        if _writes(pipeline):
            latents.save(file, step.latents, told, *beside, overwrite=overwrite)
        written.append(job.save_latents.path)

    def perform(step: Step):
        if job.save_latents and isinstance(step, Keep | Decode):
            # Before decoding, which takes the most memory: the sampled clip is not lost if that fails.
            save(step)
        return pipeline.perform(step)

    pictures = {0: picture, **inputs.keyframes}
    steps = recipe(plan, pictures, None, inputs.control, clip, course, *inputs.look)
    try:
        (frames,) = drive([steps], perform)
    except KeyboardInterrupt:
        if written and notes is not None:
            say(f"{written[-1]} has the chunks so far; the command goes on after them with --resume.")
        raise
    yield from written[-1:]
    if job.outputs:
        yield from _write(job.outputs, frames, plan.settings.fps, notes, pipeline)


def _decode_latents(
    pipeline: Pipeline,
    settings: Settings,
    saved: latents.SavedLatents,
    job: Job,
    options: Namespace,
    say: Callable[[str], None],
    bars: ProgressBars,
) -> Iterator[Path]:
    fps = settings.fps if "fps" in vars(options) else saved.notes.get("fps", settings.fps)
    ring = settings.ring or saved.notes.get("ring") is True
    frames, _, height, width = saved.latents.shape
    size, frame_wise = (frames, height, width), settings.frame_wise_decode
    pipeline.fit.check(size, frame_wise, sample=False)
    _warn_of_shortage(pipeline.fit.needed(size, frame_wise, sample=False), pipeline, say)
    last_frame = saved.picture if pipeline.checkpoint.variant.orbit else None
    beside = (last_frame, ring, saved.paste, saved.first)
    clip = pipeline.perform(Decode(saved.latents, frame_wise, *beside))
    notes = None
    if not options.no_metadata:
        decoded = {"frame_wise_decode": frame_wise, "ring": ring, "fps": fps}
        notes = {**saved.notes, **decoded, "decoded_with": _origin(pipeline, bars)}
    yield from _write(job.outputs, clip, fps, notes, pipeline)


def _warn_of_shortage(needed: int, pipeline: Pipeline, say: Callable[[str], None]) -> None:
    warning = memory.shortage(needed, memory.available(pipeline.device))
    if warning:
        say(f"warning: {warning} {KEEP_LATENTS}")


def _writes(pipeline: Pipeline) -> bool:
    """Whether this process writes the results: it is alone, or the first of the ranks."""
    return pipeline.ranks is None or pipeline.ranks.is_first


def _write(
    outputs: Sequence[Output],
    frames: Iterable[np.ndarray],
    fps: float,
    notes: dict | None,
    pipeline: Pipeline,
) -> Iterator[Path]:
    """Writes all outputs while frames are decoded, and yields each one's absolute path."""
    if not _writes(pipeline):
        for _ in frames:  # a part of which are this rank's work
            pass
        return
    named = {output.name: output for output in outputs}
    overwrite = {name: output.overwrite for name, output in named.items()}
    for name in write_videos(overwrite, frames, fps, notes):
        yield named[name].path


def _origin(pipeline: Pipeline, bars: ProgressBars) -> dict:
    """Origin of a clip for its metadata; file names stand without folders, which are private."""
    file = pipeline.checkpoint.file
    name = builtin_model.NAME if file.path == builtin_model.PATH else file.path.name
    notes = {"stillmotion": version(), "checkpoint": name}
    notes |= {part: path.name for part, path in pipeline.checkpoint.places.replacements().items()}
    hashes = {path: sha256(path, "the checkpoint", bars) for path in file.all_paths() if path.is_file()}
    if list(hashes) == [file.path]:
        notes["checkpoint_sha256"] = hashes[file.path]
    elif hashes:
        notes["checkpoint_sha256"] = {
            f"{path.parent.name}/{path.name}": found for path, found in hashes.items()
        }
    if pipeline.loras:
        notes["loras"] = [_lora_notes(applied, bars) for applied in pipeline.loras]
    return notes


def _notes(
    pipeline: Pipeline, inputs: _Inputs, origin: Callable[[], dict], job: Job, options: Namespace
) -> dict:
    """All that a clip depends on, for its metadata."""
    notes = {"image": job.picture.name, **origin(), **inputs.plan.settings.as_metadata()}
    if inputs.control is not None:
        notes |= _notes_of_control(pipeline, inputs.plan, options)
    notes |= notes_of(dict(options.keyframe), options.end_frame) | notes_of_motion(options)
    notes |= references.notes_of_references(options)
    if options.exvideo is not None:
        notes["exvideo"] = Path(options.exvideo).name
    return notes


def _notes_of_control(pipeline: Pipeline, plan: Plan, options: Namespace) -> dict:
    """The ControlNet of a clip for its metadata, with the defaults of its settings."""
    return {
        "control": pipeline.fit.control.file.path.name,
        "control_frames": Path(options.control_frames).name,
        **numbers(plan.settings),
    }


def _lora_notes(applied: Applied, bars: ProgressBars) -> dict:
    path, (spatial, temporal) = applied.lora.path, applied.strengths
    strengths = {"strength": spatial, "temporal_strength": temporal}
    return {"file": path.name, "sha256": sha256(path, "the LoRA", bars), **strengths}


def version() -> str:
    """Version of Stillmotion, for any name under which the package was imported."""
    return sys.modules[__package__.removesuffix(".headless.commands")].__version__
