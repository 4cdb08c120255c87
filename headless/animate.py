"""The command `animate`: from the options to the written files."""

import hashlib
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import builtin_model
from ..svd_model.checkpoint import Checkpoint
from ..svd_model.sources import OFFICIAL_FILES
from . import latents, memory
from .images import read_image
from .pipeline import Pipeline
from .progress import ProgressBars
from .settings import FIELD_NAMES, Settings
from .video_files import check_output, write_video

_HASH_BLOCK = 2**24


def animate(options: Namespace, say: Callable[[str], None]) -> Iterator[Path]:
    """Does what the options ask, and yields each file as it is written; `say` takes notices and warnings."""
    _check_files(options)
    settings = _settings(options)
    saved = None if options.decode_latents is None else latents.read(options.decode_latents)
    bars = ProgressBars()
    try:
        checkpoint = _open_checkpoint(options, saved, say)
        pipeline = Pipeline(
            checkpoint,
            options.device,
            options.dtype,
            bars,
            decode_dtype=options.decode_dtype,
            memory_budget=options.memory_budget,
            scratch_folder=options.scratch,
            compiled=options.compile,
            linear_dtype=options.linear_dtype,
        )
        if saved is None:
            yield from _animate_picture(pipeline, settings, options, say, bars)
        else:
            yield from _decode_latents(pipeline, settings, saved, options, say, bars)
    finally:
        bars.close()


def _check_files(options: Namespace) -> None:
    """Refuses what would fail after minutes of work, or destroy what it reads."""
    if (options.image is None) == (options.decode_latents is None):
        raise ValueError("give the IMAGE to animate, or latents with --decode-latents, and not both.")
    if not options.output and options.save_latents is None:
        raise ValueError("nothing is to be written: give --output OUT (or --save-latents FILE).")
    if options.save_latents is not None and options.decode_latents is not None:
        raise ValueError("--save-latents goes with an IMAGE, not with --decode-latents.")
    for output in options.output:
        check_output(output)
    if options.scratch is not None and not options.scratch.is_dir():
        raise ValueError(f"--scratch {options.scratch} is no folder; name one that is there.")
    written = [Path(output) for output in options.output]
    if options.save_latents is not None:
        latents.check_destination(options.save_latents)
        written.append(options.save_latents)
    taken = {path.resolve() for path in (options.image, options.checkpoint, options.decode_latents) if path}
    for path in written:
        if path.resolve() in taken:
            raise ValueError(f"{path} is read or written already; give every file a name of its own.")
        taken.add(path.resolve())


def _open_checkpoint(
    options: Namespace, saved: latents.SavedLatents | None, say: Callable[[str], None]
) -> Checkpoint:
    if options.checkpoint is None:
        origin = saved.notes.get("checkpoint", builtin_model.NAME) if saved else builtin_model.NAME
        if origin != builtin_model.NAME:
            raise ValueError(
                f"these latents were sampled with {origin}; give a --checkpoint to decode them with."
            )
        say(builtin_model.NOTICE)
        checkpoint = builtin_model.load()
    else:
        checkpoint = Checkpoint.open(options.checkpoint)
    if options.orbit and not checkpoint.variant.orbit:
        raise ValueError(
            f"--orbit goes with sv3d_u and sv3d_p; {checkpoint.file.path} is {checkpoint.variant.name}. "
            + OFFICIAL_FILES
        )
    return checkpoint


def _settings(options: Namespace) -> Settings:
    """The options that were given, as settings."""
    given = {name: value for name, value in vars(options).items() if name in FIELD_NAMES}
    if options.decode_latents is not None:
        useless = sorted(given.keys() - {"fps", "frame_wise_decode"})
        if useless:
            raise ValueError(
                f"{', '.join(useless)} can't be given with --decode-latents: that is settled already."
            )
    return Settings(**given)


def _animate_picture(
    pipeline: Pipeline, settings: Settings, options: Namespace, say: Callable[[str], None], bars: ProgressBars
) -> Iterator[Path]:
    checkpoint = pipeline.checkpoint
    settings = settings.complete(checkpoint.variant)
    decode = bool(options.output)
    pipeline.check_whole(settings, decode=decode)
    image = read_image(options.image)
    if checkpoint.variant.orbit and image.mode == "RGB":
        say(f"{options.image} has no transparency; SV3D wants a cut-out object, on white.")
    picture = pipeline.prepare(image, settings)
    scale = checkpoint.decoder.params.downscale
    size = (settings.num_frames, settings.height // scale, settings.width // scale)
    needed = memory.to_sample(checkpoint, *size, pipeline.dtype)
    if decode:
        frame_wise = settings.frame_wise_decode
        pipeline.check_budget(*size, frame_wise)
        numbers = (pipeline.decode_dtype, pipeline.device)
        needed = max(needed, memory.to_decode(checkpoint, *size, frame_wise, *numbers))
    _warn_of_shortage(needed, pipeline, say)
    sampled = pipeline.animate_latents(picture, settings)
    notes = None
    if not options.no_metadata:
        notes = {"image": options.image.name, **_origin(pipeline, bars), **settings.as_metadata()}
    if options.save_latents is not None:
        # Before decoding, which takes the most memory: the sampled clip is not lost if that fails.
        latents.save(options.save_latents, sampled, notes, picture if checkpoint.variant.orbit else None)
        yield options.save_latents.resolve()
    if decode:
        frames = pipeline.stream_clip(sampled, settings, picture)
        yield from _write(options.output, frames, settings.fps, notes, bars)


def _decode_latents(
    pipeline: Pipeline,
    settings: Settings,
    saved: latents.SavedLatents,
    options: Namespace,
    say: Callable[[str], None],
    bars: ProgressBars,
) -> Iterator[Path]:
    fps = settings.fps if "fps" in vars(options) else saved.notes.get("fps", settings.fps)
    settings = replace(settings, fps=fps).complete(pipeline.checkpoint.variant)
    pipeline.check_whole(settings, sample=False)
    frames, _, height, width = saved.latents.shape
    size = (frames, height, width, settings.frame_wise_decode)
    pipeline.check_budget(*size, encode=False)
    needed = memory.to_decode(pipeline.checkpoint, *size, pipeline.decode_dtype, pipeline.device)
    _warn_of_shortage(needed, pipeline, say)
    clip = pipeline.stream_clip(saved.latents, settings, saved.picture)
    notes = None
    if not options.no_metadata:
        decoded = {"frame_wise_decode": settings.frame_wise_decode, "fps": fps}
        notes = {**saved.notes, **decoded, "decoded_with": _origin(pipeline, bars)}
    yield from _write(options.output, clip, fps, notes, bars)


def _warn_of_shortage(needed: int, pipeline: Pipeline, say: Callable[[str], None]) -> None:
    warning = memory.shortage(needed, memory.available(pipeline.device))
    if warning:
        say(f"warning: {warning}")


def _write(
    outputs: list[str], frames: Iterator[np.ndarray], fps: float, notes: dict | None, bars: ProgressBars
) -> Iterator[Path]:
    """Writes the one output while the frames are made, or several when they are there."""
    if len(outputs) == 1:
        write_video(outputs[0], frames, fps, notes)
        yield Path(outputs[0]).resolve()
        return
    frames = list(frames)
    for output in outputs:
        stage = f"writing {Path(output).name}"
        write_video(output, frames, fps, notes, lambda done, stage=stage: bars(stage, done, len(frames)))
        yield Path(output).resolve()


def _origin(pipeline: Pipeline, bars: ProgressBars) -> dict:
    """What made a clip, for its metadata; names without folders, since those are nobody's business."""
    file = pipeline.checkpoint.file
    name = builtin_model.NAME if file.path == builtin_model.PATH else file.path.name
    notes = {"stillmotion": version(), "checkpoint": name}
    if file.path.is_file():
        notes["checkpoint_sha256"] = _sha256(file.path, bars)
    return notes


def version() -> str:
    """Stillmotion's version, under whatever name the package was imported."""
    return sys.modules[__package__.rpartition(".")[0]].__version__


def _sha256(path: Path, bars: ProgressBars) -> str:
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
            bars("hashing the checkpoint", file.tell(), size)
    return digest.hexdigest()
