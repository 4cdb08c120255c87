"""A clip between pictures: from the first one through others to the last, or back to the first, as a loop."""

import itertools
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...svd_model.networks.vae import LATENT_SCALE
from .. import between
from ..choices_over_time import SHIFT
from ..conditions import Conditions
from ..noise import start_noise
from ..plan import Plan
from ..run import Between, Ring, Run
from . import Decode, Encode, Latent, Recipe, Sample


@dataclass(frozen=True)
class Keyframe:
    """A frame of the clip with all that a run needs of its picture."""

    context: Tensor  # (1, 1, context_dim)
    concat: Tensor  # (1, 4, h, w), unscaled
    latent: Tensor  # (1, 4, h, w), in the diffusion model's scale


def inbetween(plan: Plan, pictures: Mapping[int, Tensor]) -> Recipe:
    """The clip through pictures that `plan.canvas` fitted, by their frames; frame 0 has the first one."""
    keyframes = {}
    for frame in plan.picture_frames:
        keyframes[frame] = yield from _encoded(plan, pictures[frame])
    latents = yield from _through(plan, keyframes)
    yield Decode(latents, plan.settings.frame_wise_decode, first=plan.first_frame(pictures[0]))


def loop(plan: Plan, picture: Tensor, start: Tensor | None = None) -> Recipe:
    """The clip of a picture that ends where it begins; `start`: noise for a loop without pinned frames."""
    settings = plan.settings
    if settings.loop == SHIFT:
        context, concat = yield Encode(picture, plan.noisy(picture))
        latents = plan.finished((yield Sample(shifted(plan, context, concat, start))))
    else:
        keyframe = yield from _encoded(plan, picture)
        latents = yield from _through(plan, dict.fromkeys(plan.picture_frames, keyframe))
        latents = latents[:-1]
    yield Decode(latents, settings.frame_wise_decode, ring=True, first=plan.first_frame(picture))


def shifted(plan: Plan, context: Tensor, concat: Tensor, start: Tensor | None = None) -> Run:
    """The run of a loop in which no frame is the picture's; `start` replaces the seed's noise."""
    settings, (tile,) = plan.settings, plan.run_frames
    if start is None:
        start = start_noise(settings.seed, (settings.num_frames, *concat.shape[1:]))
    run = plan.part(tile).run(plan.conditions(context, concat), start)
    return replace(run, way=Ring(between.skip_of(tile), tile))


def run_between(part: Plan, first: Keyframe, last: Keyframe) -> Run:
    """The run of a part of a clip from one picture to another."""
    run, backward = (part.run(_conditions(part, keyframe)) for keyframe in (first, last))
    way = Between(
        part.settings.between, backward.branches, backward.terms, first.latent, last.latent, part.scales
    )
    return replace(run, way=way)


def _encoded(plan: Plan, picture: Tensor) -> Generator[Encode | Latent, Any, Keyframe]:
    context, concat = yield Encode(picture, plan.noisy(picture))
    return Keyframe(context, concat, (yield Latent(picture)))


def _through(plan: Plan, keyframes: Mapping[int, Keyframe]) -> Generator[Sample, Any, Tensor]:
    """Latents from the first keyframe to the last, each of them put exactly."""
    total = len(plan.run_frames)
    numbers, clip = itertools.count(), []

    def sampled(first: int, last: int, ends: Mapping[int, Keyframe], frames: int, fps: float):
        number = next(numbers)
        run = run_between(plan.part(frames, number, fps), ends[first], ends[last])
        latents = yield Sample(run, number + 1, total)
        # At best a way ends on the first picture exactly; ViBiDSampler's comes near the last one.
        return torch.cat([ends[first].latent.to(latents), latents[1:-1], ends[last].latent.to(latents)])

    fps = plan.settings.fps
    for first, last in itertools.pairwise(keyframes):
        places, ends = between.stops(first, last, plan.variant), dict(keyframes)
        if len(places) > 2:
            slow = between.slow_fps(fps, last - first, len(places) - 1)
            coarse = yield from sampled(first, last, ends, len(places), slow)
            for place, latent in list(zip(places, coarse, strict=True))[1:-1]:
                near = keyframes[first if place - first <= last - place else last]
                concat = (latent[None] / LATENT_SCALE).to(near.concat)
                ends[place] = Keyframe(near.context, concat, latent[None])
        for begin, end in itertools.pairwise(places):
            latents = yield from sampled(begin, end, ends, end - begin + 1, fps)
            clip.append(latents[:-1])
    return torch.cat([*clip, latents[-1:]])


def _conditions(part: Plan, keyframe: Keyframe) -> Conditions:
    return part.conditions(keyframe.context, keyframe.concat)
