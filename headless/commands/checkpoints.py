"""The checkpoint that a command's options name, and what they put over it."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from ... import builtin_model
from ...clips.mistakes import Mistakes
from ...svd_model.adapters import exvideo
from ...svd_model.adapters.lora import Applied
from ...svd_model.checkpoint import Checkpoint, Part
from ...svd_model.checkpoint.official_files import OFFICIAL_FILES
from ..batch.clips import Common, dtypes_of, weights_of
from ..engine import loras
from ..engine.ranks import Ranks
from ..files.sources import existing
from ..jobs import parts_of
from ..pipeline import Pipeline


def open_checkpoint(name: str, options: Namespace) -> Checkpoint:
    """The checkpoint of that name, with parts from other files and ExVideo's blocks; raises ValueError."""
    try:
        path = existing(name)
    except ValueError as error:
        raise ValueError(f"{error} {OFFICIAL_FILES}") from error
    parts = {part: existing(file) for part, file in parts_of(options).items()}
    checkpoint = Checkpoint.open(path, **parts)
    return checkpoint if options.exvideo is None else exvideo.opened(checkpoint, existing(options.exvideo))


def open_pipeline(
    checkpoint: Checkpoint,
    applied: Sequence[Applied],
    options: Namespace,
    progress: Callable[[str, int, int], object],
    *,
    device: str | None,
    control: Part | None = None,
    ranks: Ranks | None = None,
) -> Pipeline:
    """The pipeline of a command's options, on ranks on each one's own device; networks come with a clip."""
    return Pipeline(
        checkpoint,
        device if ranks is None else ranks.device,
        options.dtype,
        progress,
        decode_dtype=options.decode_dtype,
        memory_budget=options.memory_budget,
        scratch_folder=options.scratch,
        compiled=options.compile,
        linear_dtype=options.linear_dtype,
        control=control,
        loras=applied,
        ranks=ranks,
    )


def pipeline_of(
    options: Namespace, progress: Callable[[str, int, int], object], device: str | None
) -> Pipeline:
    """The pipeline of the options' files, the built-in model without any."""
    named = options.checkpoint
    checkpoint = builtin_model.load() if named is None else open_checkpoint(named, options)
    return open_pipeline(checkpoint, read_loras(checkpoint, options), options, progress, device=device)


def common_of(
    options: Namespace, version: str, bars: Callable[[str, int, int], object], mistakes: Mistakes
) -> Common:
    """What many clips have in common, with the hashes of all weights; raises MistakesError before these."""
    pipeline = pipeline_of(options, bars, options.device)
    mistakes.raise_any()  # gigabytes are hashed only where there is work
    exvideo_path = None if options.exvideo is None else Path(options.exvideo)
    weights = weights_of(pipeline.checkpoint, pipeline.loras, exvideo_path, bars)
    extension = f".{options.format}"
    return Common(options, weights, dtypes_of(pipeline), extension, not options.no_metadata, version)


def read_loras(checkpoint: Checkpoint | None, options: Namespace) -> tuple[Applied, ...] | None:
    """The LoRAs of the options; without a checkpoint None, or ValueError where a file is missing."""
    for file, *_ in options.lora:
        existing(file)
    return checkpoint and loras.read(checkpoint, options.lora)
