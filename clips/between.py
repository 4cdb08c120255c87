"""Clips between pictures and loops: the frames of their pictures, their defaults, and what they refuse."""

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ..samplers.bidirectional import BIDIRECTIONAL
from ..samplers.guidance import EVERYWHERE
from ..svd_model.checkpoint.variants import Variant
from . import guiding, presets
from .choices import MOST_FRAMES
from .choices_over_time import MPD, PINNED, SHIFT, ChoicesOverTime
from .fields import is_number
from .first_frame import EXACT
from .presets import Preset
from .run import TRF
from .values import plain

STEPS, STEPS_OF_TRF = 25, 50
"""Steps of a clip that ends on a picture, if the user names no number: as many as its authors took."""

FEWEST, MOST = 7, 31
"""Frames of a run between two pictures that the networks are at home with."""

_COARSE, _FEWEST_COARSE = 24, 6
_SLOWEST = 3.0

LCM = "lcm"


def has_ends(settings: ChoicesOverTime, pictures: bool) -> bool:
    """Whether a clip goes from picture to picture; pictures: whether there are any after the first."""
    return pictures or settings.loop == PINNED


def frames_of(
    settings: ChoicesOverTime, variant: Variant, keyframes: Collection[int], end_frame: bool
) -> tuple[int, ...]:
    """The frames of pictures after the first, in order; raises ValueError for impossible ones.

    end_frame: whether the last frame of the settings, or of the checkpoint, is one of them.
    """
    if not keyframes and not end_frame:
        return ()
    keyframes = [plain(frame) for frame in keyframes]
    for frame in keyframes:
        if isinstance(frame, float) or not is_number(frame) or not 1 <= frame < MOST_FRAMES:
            raise ValueError(
                f"a keyframe is at frame {frame!r}; frame 0 is the first picture's, so give a whole number "
                f"from 1 to {MOST_FRAMES - 1}."
            )
    frames = sorted(set(keyframes))
    if end_frame:
        chosen = settings.num_frames
        last = presets.find_preset(variant, chosen, settings.sampler, settings.preset).num_frames - 1
        if frames and frames[-1] >= last:
            raise ValueError(
                f"a keyframe is at frame {frames[-1]}, and the end frame is frame {last} of {last + 1}; give "
                "more frames, or an earlier keyframe."
            )
        frames.append(last)
    elif settings.num_frames not in (None, frames[-1] + 1):
        raise ValueError(
            f"num_frames is {settings.num_frames}, and the clip ends at its keyframe {frames[-1]}: "
            "leave num_frames out, or give an end frame too."
        )
    return _with_frames_between(frames)


def _with_frames_between(frames: Sequence[int]) -> tuple[int, ...]:
    for first, second in itertools.pairwise((0, *frames)):
        if second - first < 2:
            raise ValueError(
                f"pictures are at frames {first} and {second}, with no frame between; give keyframes other "
                "frames, or the clip more of them."
            )
    return tuple(frames)


def mistakes(settings: ChoicesOverTime, variant: Variant, pictures: bool) -> Iterator[str]:
    """A sentence for each choice that does not go with a clip between pictures, or with a loop."""
    what = "an end frame or keyframes" if pictures else f"the loop {settings.loop}"
    if not pictures and settings.loop is None:
        if settings.between is not None:
            yield (
                f"between is {settings.between}, and the clip has one picture; give an end frame, keyframes "
                f"or the loop {PINNED}."
            )
        return
    if pictures and variant.conditioning != "svd":
        yield f"an end frame and keyframes go with SVD; this checkpoint ({variant.name}) takes none."
    if pictures and settings.loop is not None:
        yield f"loop is {settings.loop}, which ends where it begins, and the clip has {what}; leave one out."
    elif settings.loop == SHIFT and settings.between is not None:
        yield f"between is {settings.between}, and the loop {SHIFT} ends on no picture; leave one out."
    useless = [name for name in ("long", "chunk", "overlap", "match") if getattr(settings, name) is not None]
    if useless:
        yield f"{' and '.join(useless)} can't go with {what}; leave one out."
    if LCM in (settings.sampler, presets.NAMED.get(settings.preset, {}).get("sampler")):
        yield (
            f"the sampler {LCM} can't go with {what}: its few steps leave no room for them; give another one."
        )
    if settings.loop is not None and settings.num_frames == 1:
        yield "num_frames is 1, and a loop needs 2 at the least; give more."
    ends = has_ends(settings, pictures)
    yield from guiding.conflicts_between(settings, what, settings.between or MPD if ends else None)
    yield from _mistakes_between(settings) if ends else _mistakes_of_shift(settings, variant)


def _mistakes_between(settings: ChoicesOverTime) -> Iterator[str]:
    method = settings.between or MPD
    if method in BIDIRECTIONAL:
        if settings.sampler not in (None, "euler", LCM):
            yield (
                f"sampler is {settings.sampler}, and {method} has steps of its own, of first order: noise "
                f"goes up again after each pass; leave it out, or give between {TRF}."
            )
        if settings.churn:
            yield f"churn is {settings.churn:g}, and {method} has noise of its own; leave it out."
        if settings.guidance_interval not in (None, EVERYWHERE):
            yield (
                f"guidance_interval can't go with {method}, which needs the estimate without the picture at "
                "every noise level; leave it out."
            )
    if settings.contrast is not None:
        yield (
            f"contrast is {settings.contrast:g}, which would change the pictures of the clip; leave it out."
        )


def _mistakes_of_shift(settings: ChoicesOverTime, variant: Variant) -> Iterator[str]:
    if settings.feature_cache != 1:
        yield (
            f"feature_cache is {settings.feature_cache}, and the loop {SHIFT} has other frames at a place in "
            "every step; leave it out."
        )
    if settings.keep_first == EXACT:
        yield f"keep_first {EXACT} can't go with the loop {SHIFT}, no frame of which is the picture's."
    frames = presets.find_preset(variant, settings.num_frames, settings.sampler, settings.preset).num_frames
    if tile_of(frames, variant) is None:
        accepted = _frames_of_checkpoint(variant)
        yield (
            f"num_frames is {frames}; the loop {SHIFT} takes up to {max(accepted)}, or a multiple of "
            f"{' or of '.join(map(str, accepted))}."
        )


def check_guidance(settings: ChoicesOverTime, runs: Sequence[int]) -> None:
    """Raises ValueError for scales of frames in a clip whose runs, of so many frames, are others."""
    many = isinstance(settings.guidance, tuple) and len(settings.guidance) > 1
    if many and any(frames != settings.num_frames for frames in runs):
        raise ValueError(
            f"guidance is a list of {len(settings.guidance)} scales, and the clip's runs have "
            f"{', '.join(map(str, runs))} frames; give one scale, or a shape."
        )


def defaults(settings: ChoicesOverTime, pictures: bool, preset: Preset) -> dict[str, Any]:
    """Numbers of a preset that are others in such a clip, if the user leaves them open."""
    names = ("guidance", "min_guidance", "max_guidance")
    guided = any(getattr(settings, name) is not None for name in names)
    if settings.loop == SHIFT:
        # A ramp would show where a tile begins.
        even = (preset.min_guidance + preset.max_guidance) / 2
        return {} if guided else {"guidance": "constant", "min_guidance": even, "max_guidance": even}
    if not has_ends(settings, pictures):
        return {}
    method = settings.between or MPD
    changes = {"steps": STEPS_OF_TRF if method == TRF else STEPS, "contrast": None}
    if method in BIDIRECTIONAL and not guided:
        changes |= {"guidance": "constant", "min_guidance": 1.0, "max_guidance": 1.0}
    return changes


def stops(first: int, last: int, variant: Variant) -> list[int]:
    """The frames of a coarse run between two pictures, their own included; these alone if they are near."""
    gap, longest, span = last - first, MOST - 1, _COARSE
    if variant.most_frames is not None:
        longest = span = variant.most_frames - 1
    if gap <= longest:
        return [first, last]
    count = max(_FEWEST_COARSE, math.ceil(gap / span))
    return [first + round(number * gap / count) for number in range(count + 1)]


def slow_fps(fps: float, gap: int, count: int) -> float:
    """The frame rate that a coarse run of `count` steps over a gap is told."""
    return max(_SLOWEST, fps * count / gap)


def run_lengths(frames: Sequence[int], variant: Variant) -> list[int]:
    """How many frames each run between pictures has, in order."""
    lengths = []
    for first, last in itertools.pairwise(frames):
        places = stops(first, last, variant)
        lengths += [len(places)] if len(places) > 2 else []
        lengths += [second - first + 1 for first, second in itertools.pairwise(places)]
    return lengths


def doubts(frames: Sequence[int], variant: Variant) -> Iterator[str]:
    """A sentence for each gap that is shorter or longer than the networks are at home with."""
    most = MOST if variant.most_frames is None else variant.most_frames
    for first, last in itertools.pairwise(frames):
        count = last - first + 1
        if not FEWEST <= count <= most:
            way = "; a coarse run comes first, and its frames are joined" if count > most else ""
            yield (
                f"from frame {first} to frame {last} there are {count} frames; the networks know "
                f"{FEWEST} to {most}{way}."
            )


def tile_of(num_frames: int, variant: Variant) -> int | None:
    """Frames of a tile of a ring: all, or as many as the checkpoint's; None where those don't divide it."""
    accepted = _frames_of_checkpoint(variant)
    if num_frames <= max(accepted):
        return num_frames
    return next((frames for frames in accepted if num_frames % frames == 0), None)


def skip_of(tile: int) -> int:
    """The shift of a ring from step to step: near half a tile, and coprime with it, to come everywhere."""
    return min(
        (skip for skip in range(1, tile + 1) if math.gcd(skip, tile) == 1),
        key=lambda skip: (abs(2 * skip - tile), skip),
    )


def _frames_of_checkpoint(variant: Variant) -> tuple[int, ...]:
    """Frames that the checkpoint may have been trained with; several where its file doesn't tell."""
    if variant.num_frames is not None:
        return (variant.num_frames,)
    return tuple(preset.num_frames for preset in presets.PRESETS[variant.conditioning])
