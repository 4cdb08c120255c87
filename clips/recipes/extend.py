"""Clips of any length by runs of a few frames: chains of chunks, and fused windows."""

import math
from collections.abc import Generator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...samplers import windows
from ...svd_model.networks.vae import LATENT_SCALE
from ..choices_over_time import CHAIN, FREENOISE
from ..conditions import Conditions
from ..match import matched
from ..noise import seed_of_chunk, shuffles, start_noise
from ..plan import Plan
from ..run import Constraint, Hold, Run, Windows
from . import Keep, Sample, Step

HELD_UNTIL = 15.0
"""The noise level down to which a chunk follows the end of the clip in front of it."""


def extend(
    plan: Plan,
    pictured: Conditions,
    start: Tensor | None = None,
    kept: Tensor | None = None,
    constraint: Constraint | None = None,
) -> Generator[Step, Any, Tensor]:
    """Samples a clip longer than the UNet's frames at once; returns its latents, (n, 4, h, w).

    `start`, (T, 4, h, w), replaces the seed's noise of the first chunk or window. kept: latents of a Keep of
    a chain, which goes on after them. constraint: of a clip in windows.
    """
    run, settings = replace(plan.run(pictured, start), constraint=constraint), plan.settings
    if settings.long != CHAIN:
        return (yield Sample(in_windows(run, plan)))
    total = number_of_chunks(settings.num_frames, settings.chunk, settings.overlap)
    clip = (yield Sample(run, 1, total)) if kept is None else kept
    while len(clip) < settings.num_frames:
        if kept is None or len(clip) > len(kept):
            yield Keep(clip)
        number = 1 + number_of_chunks(len(clip), settings.chunk, settings.overlap)
        chunk = yield Sample(next_run(plan, pictured, clip), number, total)
        clip = joined(clip, chunk, settings.overlap, settings.match)
    return clip[: settings.num_frames]


def number_of_chunks(num_frames: int, length: int, overlap: int) -> int:
    """How many chunks of a length a chain of so many frames has."""
    return 1 + max(0, math.ceil((num_frames - length) / (length - overlap)))


class Chunk(NamedTuple):
    """What a chunk that follows a clip begins with."""

    led_by: Tensor  # (K, 4, h, w), the clip's last frames
    noise: Tensor  # (T, 4, h, w)
    seed: int  # of all further noise


def following(clip: Tensor, length: int, overlap: int, seed: int) -> Chunk:
    """The chunk of a length after a clip, (n, 4, h, w), that is made of such chunks; seed: the clip's."""
    seed = seed_of_chunk(seed, number_of_chunks(len(clip), length, overlap))
    return Chunk(clip[-overlap:], start_noise(seed, (length, *clip.shape[1:])), seed)


def next_run(plan: Plan, pictured: Conditions, clip: Tensor) -> Run:
    """The run of the chunk that follows a clip; pictured: of the clip's picture.

    The first of the frames that lead it takes the picture's place beside the latents. The token stays the
    picture's, which holds the look.
    """
    settings = plan.settings
    chunk = following(clip, settings.chunk, settings.overlap, settings.seed)
    concat = (chunk.led_by[:1] / LATENT_SCALE).to(pictured.concat)
    run = plan.run(replace(pictured, concat=concat), chunk.noise)
    return replace(run, seed=chunk.seed, way=Hold(chunk.led_by, HELD_UNTIL))


def joined(clip: Tensor, chunk: Tensor, overlap: int, match: float) -> Tensor:
    """A clip, (n, 4, h, w), and the chunk after it, cross-faded over the frames that they share.

    match: how far the chunk gets the colours and the contrast of the clip's first frame.
    """
    chunk = matched(chunk, clip[:1], match)
    position = torch.arange(1, overlap + 1, dtype=clip.dtype, device=clip.device).view(-1, 1, 1, 1)
    shared = clip[-overlap:].lerp(chunk[:overlap], position / (overlap + 1))
    return torch.cat([clip[:-overlap], shared, chunk[overlap:]])


def in_windows(run: Run, plan: Plan) -> Run:
    """The run of all frames of a long clip in windows; `run` has noise for the frames of one."""
    settings = plan.settings
    sizes = settings.num_frames, settings.chunk, settings.overlap
    start, way = windows_of(settings.long, run.start, sizes, settings.seed)
    return replace(run, start=start, way=way)


def windows_of(long: str, noise: Tensor, sizes: tuple[int, int, int], seed: int) -> tuple[Tensor, Windows]:
    """Noise of all frames of a long clip, (n, 4, h, w), and its windows.

    noise: of the frames of one window. sizes: the clip's frames, a window's, and how many two of them share.
    """
    num_frames, length, overlap = sizes
    start = windows.repeated(noise, num_frames)
    if long == FREENOISE:
        orders = shuffles(seed, length - overlap, number_of_chunks(*sizes) - 1)
        start = windows.shuffled(start, length, orders)
        frames, weights = windows.sliding(*sizes), windows.triangle(len(noise))
    else:
        frames, weights = windows.anchored(*sizes), windows.tent(len(noise))
    return start, Windows(tuple(map(tuple, frames)), weights)
