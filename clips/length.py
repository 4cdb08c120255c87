"""The length of a clip: how one of more frames than its checkpoint's comes about, and what rules it out."""

from collections.abc import Iterator
from dataclasses import replace

from ..svd_model.checkpoint.variants import Variant
from . import presets
from .choices_over_time import (
    CHAIN,
    CHUNKED,
    FREENOISE,
    USUAL_MATCH,
    USUAL_OVERLAP,
    WHOLE,
    WINDOWS,
    ChoicesOverTime,
)

_OF_CHUNKS = ("chunk", "overlap")


def conflicts(settings: ChoicesOverTime) -> Iterator[str]:
    """A sentence for each pair of choices that rule each other out, whatever the checkpoint."""
    long = settings.long
    if settings.feature_cache > 1 and long in (WINDOWS, FREENOISE):
        yield (
            f"feature_cache is {settings.feature_cache}, which keeps features of frames that long {long} "
            "replaces by others in every evaluation; leave one of them out."
        )
    if settings.match is not None and long not in (None, CHAIN):
        yield f"match goes with long {CHAIN}, and long is {long}; leave match out."
    if long == WHOLE:
        for name in _named(settings, *_OF_CHUNKS):
            yield f"{name} goes with long {', '.join(CHUNKED)}; long {WHOLE} has neither chunks nor windows."


def with_length(settings: ChoicesOverTime, variant: Variant) -> ChoicesOverTime:
    """Settings with a number of frames, and with what a long clip is made of.

    A clip of no more frames than the checkpoint's, or than the chosen chunk's, is sampled whole.
    """
    own = presets.find_preset(variant, name=settings.preset).num_frames
    frames, chunk = settings.num_frames or own, settings.chunk or own
    long = settings.long
    if long is None and frames > chunk and _may_be_chained(settings, variant):
        long = CHAIN
    changes = {"num_frames": frames, "long": long}
    if long in CHUNKED:
        changes |= {"chunk": chunk}
        changes |= {"overlap": settings.overlap or min(USUAL_OVERLAP, chunk // 2)}
    if long == CHAIN and settings.match is None:
        changes |= {"match": USUAL_MATCH}
    return replace(settings, **changes)


def impossible(settings: ChoicesOverTime) -> Iterator[str]:
    """A sentence for each choice that settings from `with_length` have no use for."""
    if settings.long is None:
        most = "the checkpoint's" if settings.chunk is None else f"a chunk's {settings.chunk}"
        for name in _named(settings, *_OF_CHUNKS, "match"):
            yield (
                f"{name} goes with a clip of more frames than {most}, and this one has "
                f"{settings.num_frames}; leave it out."
            )
    elif settings.long in CHUNKED and settings.overlap >= settings.chunk:
        yield (
            f"overlap is {settings.overlap}, but chunks have {settings.chunk} frames; it must be "
            f"1 to {settings.chunk - 1}."
        )


def _may_be_chained(settings: ChoicesOverTime, variant: Variant) -> bool:
    return variant.conditioning == "svd" and settings.loop is None and settings.between is None


def _named(settings: ChoicesOverTime, *names: str) -> list[str]:
    return [name for name in names if getattr(settings, name) is not None]
