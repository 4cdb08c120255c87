"""The command `animate`: from the options to the written files."""

import hashlib
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..svd_model.checkpoint import Checkpoint
from . import builtin_model, latents, memory
from .images import read_image, to_uint8
from .pipeline import Pipeline
from .progress import ProgressBars
from .settings import FIELD_NAMES, Settings
from .video_files import check_output, write_video

_HASH_BLOCK = 2**24


def animate(options: Namespace, say: Callable[[str], None]) -> Iterator[Path]:
    """Does what the options ask, and yields each file as it is written; `say` takes notices and warnings."""
    _check_files(options)
    bars = ProgressBars()
    try:
        if options.checkpoint is None:
            say(builtin_model.NOTICE)
        checkpoint = Checkpoint.open(options.checkpoint) if options.checkpoint else builtin_model.load()
        if options.orbit and not checkpoint.variant.orbit:
            raise ValueError(
                f"--orbit goes with sv3d_u and sv3d_p; {checkpoint.file.path} is {checkpoint.variant.name}."
            )
        pipeline = Pipeline(checkpoint, device=options.device, dtype=options.dtype, progress=bars)
        settings = _settings(options)
        if options.decode_latents is None:
            yield from _animate_picture(pipeline, settings, options, say, bars)
        else:
            yield from _decode_latents(pipeline, settings, options, bars)
    finally:
        bars.close()


def _check_files(options: Namespace) -> None:
    """Refuses what would fail after minutes of work."""
    if (options.image is None) == (options.decode_latents is None):
        raise ValueError("give the IMAGE to animate, or latents with --decode-latents, and not both.")
    if not options.output and options.save_latents is None:
        raise ValueError("nothing is to be written: give --output OUT (or --save-latents FILE).")
    if options.save_latents is not None and options.decode_latents is not None:
        raise ValueError("--save-latents goes with an IMAGE, not with --decode-latents.")
    for output in options.output:
        check_output(output)
    if options.save_latents is not None:
        latents.check_destination(options.save_latents)


def _settings(options: Namespace) -> Settings:
    """The options that were given, as settings."""
    return Settings(**{name: value for name, value in vars(options).items() if name in FIELD_NAMES})


def _animate_picture(
    pipeline: Pipeline, settings: Settings, options: Namespace, say: Callable[[str], None], bars: ProgressBars
) -> Iterator[Path]:
    settings = settings.complete(pipeline.checkpoint.variant)
    picture = pipeline.prepare(read_image(options.image), settings)
    pipeline.check_whole(settings)
    needed = memory.estimate(pipeline.checkpoint, settings, pipeline.dtype)
    warning = memory.shortage(needed, memory.available(pipeline.device))
    if warning:
        say(f"warning: {warning}")
    sampled = pipeline.animate_latents(picture, settings)
    notes = None
    if not options.no_metadata:
        notes = {"image": options.image.name, **_origin(pipeline, bars), **settings.as_metadata()}
    if options.save_latents is not None:
        # Before decoding, which takes the most memory: the sampled clip is not lost if that fails.
        latents.save(options.save_latents, sampled, notes)
        yield options.save_latents.resolve()
    if options.output:
        frames = pipeline.decode_clip(sampled, settings, picture)
        yield from _write(options.output, frames, settings.fps, notes, bars)


def _decode_latents(
    pipeline: Pipeline, settings: Settings, options: Namespace, bars: ProgressBars
) -> Iterator[Path]:
    sampled, notes = latents.read(options.decode_latents)
    fps = settings.fps if "fps" in vars(options) else notes.get("fps", settings.fps)
    notes = {**notes, **_origin(pipeline, bars), "fps": fps, "frame_wise_decode": settings.frame_wise_decode}
    frames = to_uint8(pipeline.decode(sampled, settings.frame_wise_decode))
    yield from _write(options.output, frames, fps, None if options.no_metadata else notes, bars)


def _write(
    outputs: list[str], frames: np.ndarray, fps: float, notes: dict | None, bars: ProgressBars
) -> Iterator[Path]:
    for output in outputs:
        stage = f"writing {Path(output).name}"
        write_video(output, frames, fps, notes, lambda done, stage=stage: bars(stage, done, len(frames)))
        yield Path(output).resolve()


def _origin(pipeline: Pipeline, bars: ProgressBars) -> dict:
    """What made a clip, for its metadata; names without folders, since those are nobody's business."""
    file = pipeline.checkpoint.file
    version = sys.modules[__package__.rpartition(".")[0]].__version__
    notes = {"stillmotion": version, "checkpoint": file.path.name}
    if file.path.is_file():
        notes["checkpoint_sha256"] = _sha256(file.path, bars)
    return notes


def _sha256(path: Path, bars: ProgressBars) -> str:
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
            bars("hashing the checkpoint", file.tell(), size)
    return digest.hexdigest()
