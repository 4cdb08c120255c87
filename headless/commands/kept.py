"""Latents that are kept after each chunk of a long clip, and how a later command goes on after them."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from ...clips.choices_over_time import CHAIN
from ...clips.plan import Plan
from ...clips.recipes.extend import number_of_chunks
from ..files.latents import SavedLatents
from ..pipeline import Pipeline

UNFINISHED = "unfinished"
"""The key of the notes that tell how far a clip is, and what beside its settings it depends on."""

_OF_DECODING = ("contrast", "frame_wise_decode", "ring", "keep_first")
_MAY_DIFFER = ("num_frames", *_OF_DECODING, "image", "stillmotion", UNFINISHED)
"""Notes that the chunks of a chain don't depend on."""


def with_progress(
    notes: dict | None, clip: Tensor, pictures: Sequence[Tensor], pipeline: Pipeline
) -> dict | None:
    """Notes of a clip that goes on; None of a clip without notes. pictures: all that it is sampled from."""
    if notes is None:
        return None
    return {**notes, UNFINISHED: {"frames": len(clip), **_run_of(pictures, pipeline)}}


def check(path: Path, saved: SavedLatents, plan: Plan, with_notes: bool) -> None:
    """Raises ValueError for latents that no chunk can follow, and for a plan that is no chain.

    with_notes: whether the files get metadata. All else takes the checkpoint's hash, see `checked`.
    """
    if plan.settings.long != CHAIN:
        raise ValueError(f"--resume goes on with a clip of --long {CHAIN}; this one is sampled in one go.")
    if not with_notes:
        raise ValueError("--resume compares settings, which --no-metadata leaves out; give one of them.")
    if UNFINISHED not in saved.notes:
        raise ValueError(
            f"{path} is no clip that --save-latents kept after a chunk, with metadata; a complete one is "
            "decoded with --decode-latents."
        )


def checked(
    path: Path, saved: SavedLatents, notes: dict, plan: Plan, pictures: Sequence[Tensor], pipeline: Pipeline
) -> Tensor:
    """Latents, accepted by `check`, that a chain goes on after; notes, pictures: of this command.

    Raises ValueError for latents that came from another clip, or have as many frames as this one.
    """
    settings, clip = plan.settings, saved.latents
    differences = list(_differences(saved.notes, notes, _run_of(pictures, pipeline)))
    if differences:
        raise ValueError(
            f"{path} is of another clip: {'; '.join(differences)}. Give its options, or leave out --resume."
        )
    _, height, width = pipeline.latent_size(plan)
    chunks = number_of_chunks(len(clip), settings.chunk, settings.overlap)
    whole = settings.chunk + (chunks - 1) * (settings.chunk - settings.overlap)
    if clip.shape != (whole, 4, height, width) or len(clip) >= settings.num_frames:
        raise ValueError(
            f"{path} holds latents of shape {tuple(clip.shape)}; a clip of {settings.num_frames} frames goes "
            f"on from fewer, whole chunks of {settings.chunk} that share {settings.overlap}, of "
            f"{8 * width}×{8 * height}."
        )
    return clip


def _differences(saved: dict, notes: dict, run: dict) -> Iterator[str]:
    """What another clip's notes differ in, in words."""
    notes = json.loads(json.dumps(notes))  # tuples become lists, as in a file
    for name in sorted((saved.keys() | notes.keys()) - {*_MAY_DIFFER}):
        if saved.get(name) != notes.get(name):
            yield f"{name} is {notes.get(name)} here and was {saved.get(name)}"
    kept = saved[UNFINISHED] if isinstance(saved[UNFINISHED], dict) else {}
    for name, value in run.items():
        if kept.get(name) != value:
            of_pictures = "the picture is another one, or a reference is"
            yield of_pictures if name == "picture" else f"{name} is {value} here"


def _run_of(pictures: Sequence[Tensor], pipeline: Pipeline) -> dict:
    """What sampling depends on beside settings and checkpoint."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(picture.contiguous().numpy().tobytes())
    numbers = {"picture": digest.hexdigest(), "dtype": str(pipeline.dtype).removeprefix("torch.")}
    return numbers | {"linear_dtype": pipeline.linear_dtype}
