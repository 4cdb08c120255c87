"""Nodes for clips of more frames than a model takes at once: a clip goes on, or becomes long in one node."""

from dataclasses import dataclass, replace

import torch
from comfy_api.v0_0_2 import io
from torch import Tensor

from ..clips.choices_over_time import CHAIN, FREENOISE, USUAL_MATCH, USUAL_OVERLAP, WINDOWS
from ..clips.noise import start_noise
from ..clips.recipes.extend import HELD_UNTIL, following, joined, number_of_chunks, windows_of
from ..clips.run import Hold
from ..svd_model.networks.finite import check_finite
from . import host, latents
from .checks import checked
from .inputs import setting
from .sampling import (
    CATEGORY,
    find_sampler,
    guided_model,
    make_sigmas,
    sampler_input,
    schedule_inputs,
    seed_input,
)
from .scales import SHAPES, guidance_inputs

LONG = [CHAIN, WINDOWS, FREENOISE]
OF_MODEL = "the model's own"
"""The shape of guidance that leaves it to SVD Guidance or SVD Preset."""

_REMEDY = "connect the latent of the sampler unchanged."


@dataclass(frozen=True)
class Chunk:
    """What a chunk or window of a clip is sampled with, but for its noise."""

    model: object  # with its guidance
    positive: list
    negative: list
    frames: int  # that the model takes at once
    sampler: str
    sigmas: Tensor

    def sampled(self, noise: Tensor, seed: int, run: tuple[int, int] = (1, 1)) -> Tensor:
        """Latents, (T, 4, h, w) as the noise, by the host; seed is of all further noise."""
        frames = len(noise)
        conditionings = (_of_frames(each, frames) for each in (self.positive, self.negative))
        latent = {"samples": torch.zeros_like(noise), host.NUM_FRAMES: frames}
        solver = find_sampler(self.sampler, [seed])
        return host.sample_latent(self.model, *conditionings, latent, noise, solver, self.sigmas, seed, run)[
            "samples"
        ]


def extended(
    chunk: Chunk, clip: Tensor, seed: int, overlap: int, match: float, run: tuple[int, int] = (1, 1)
) -> Tensor:
    """A clip, (n, 4, h, w), and the next chunk of its chain, which begins with its last frames.

    The first of them takes the picture's place beside the latents; the picture's embedding stays, which holds
    the look.
    """
    led_by, noise, seed = following(clip, chunk.frames, overlap, seed)
    way = Hold(host.in_models_scale(chunk.model, led_by), HELD_UNTIL)
    positive = [
        [context, {**options, "concat_latent_image": led_by[:1]}] for context, options in chunk.positive
    ]
    model = host.with_held_frames(chunk.model, way, noise)
    sampled = replace(chunk, model=model, positive=positive).sampled(noise, seed, run)
    return joined(clip, sampled.to(clip), overlap, match)


def chained(chunk: Chunk, shape: torch.Size, frames: int, seed: int, overlap: int, match: float) -> Tensor:
    """Latents of a clip of so many frames, (frames, 4, h, w), from one chunk after another."""
    total = number_of_chunks(frames, chunk.frames, overlap)
    clip = chunk.sampled(start_noise(seed, (chunk.frames, *shape)), seed, (1, total))
    for number in range(2, total + 1):
        clip = extended(chunk, clip, seed, overlap, match, (number, total))
    return clip[:frames]


def in_windows(chunk: Chunk, shape: torch.Size, frames: int, seed: int, overlap: int, long: str) -> Tensor:
    """Latents of a clip of so many frames, (frames, 4, h, w), in windows whose estimates are fused."""
    sizes = frames, chunk.frames, overlap
    noise, way = windows_of(long, start_noise(seed, (chunk.frames, *shape)), sizes, seed)
    return replace(chunk, model=host.with_windows(chunk.model, way)).sampled(noise, seed)


def _of_frames(conditioning: list, frames: int) -> list:
    return [[context, {**options, host.NUM_FRAMES: frames}] for context, options in conditioning]


def _check(name: str, model, positive: list, negative: list) -> None:
    """Raises ValueError for a MODEL or CONDITIONING that a long clip, of a node by its name, can't have."""
    host.check_no_orbit(model, name)
    host.check_without_windows(model, name)
    for branch, conditioning in (("positive", positive), ("negative", negative)):
        host.check_conditioning(model, branch, conditioning)
        for context, options in conditioning:
            pictures = max(len(context), len(options["concat_latent_image"]))
            if pictures > 1:
                raise ValueError(
                    f"{branch} is of a batch of pictures, {pictures} rows; {name} makes one clip: "
                    "connect SVD Image to Video with one picture."
                )
        if host.way_of(conditioning) is not None:
            raise ValueError(
                f"{branch} has an end picture or a loop, which {name} can't go on from; connect SVD Image to "
                "Video in its place, or sample one clip with SVD KSampler."
            )
        if steering := host.steering_of(conditioning):
            raise ValueError(
                f"{branch} has {steering}, which knows the frames of one chunk alone; take it out, or sample "
                "one clip with SVD KSampler."
            )


def _guided(name: str, model, shape: str, *scales):
    """A MODEL with guidance: its own, or of a shape; raises ValueError for none, and for two."""
    if shape != OF_MODEL:
        host.check_without_guidance(model, name)
        return guided_model(model, shape, *scales)
    if not host.is_guided(model):
        raise ValueError(
            f"shape is {shape!r}, and this model has none; put SVD Guidance or SVD Preset before it, or "
            "choose another shape."
        )
    return model


def _frames_of_chunk(name: str, positive: list, negative: list, overlap: int) -> int:
    """The frames of a chunk, from the CONDITIONING; raises ValueError where it has none, or too few."""
    frames = latents.frames_of_conditioning(positive, negative, {})
    if frames is None:
        raise ValueError(
            f"positive and negative don't say how many frames {name} may sample at once; connect them from "
            "SVD Image to Video, whose frames they are."
        )
    if not overlap < frames:
        raise ValueError(
            f"overlap is {overlap}, but a chunk has {frames} frames; it must be 1 to {frames - 1}."
            if frames > 1
            else "the conditioning is of 1 frame, and a chunk needs 2 at least; give SVD Image to Video more."
        )
    return frames


def _check_holding(sampler: str) -> None:
    """Raises ValueError for a sampler that can't lead frames along others."""
    if sampler.endswith("_cfg_pp"):
        raise ValueError(
            f"sampler is {sampler}, which follows the estimate without the picture, and so can't go on from "
            "the clip's last frames; choose another one, as euler."
        )


def _one_clip(name: str, latent: dict) -> Tensor:
    """The frames of a LATENT, (n, 4, h, w); raises ValueError for several videos."""
    latent = latents.without_closing_frame(latent)
    samples, own = host.frames_as_batch(latents.samples_of(latent))
    if own is None:
        own = latents.frames_of_video(latent, _REMEDY)
        latents.check_frames_said(latent, own, _REMEDY)
    if len(samples) != own:
        raise ValueError(
            f"the latent holds {len(samples) // own} videos; {name} takes one: cut it out with core's Latent "
            "From Batch, or animate one picture."
        )
    return samples


def _long_latent(latent: dict, samples: Tensor) -> dict:
    """A LATENT of one clip; what it said of single frames is left out."""
    of_frames = ("noise_mask", "batch_index", host.CLOSING_FRAME)
    kept = {name: value for name, value in latent.items() if name not in of_frames}
    return {**kept, "samples": samples, host.NUM_FRAMES: len(samples)}


def _sampling_inputs() -> list:
    return [
        setting("overlap", default=USUAL_OVERLAP),
        setting("match", default=USUAL_MATCH),
        sampler_input(),
        *guidance_inputs([*SHAPES, OF_MODEL]),
        *schedule_inputs(),
    ]


def _models_inputs() -> list:
    return [
        io.Model.Input("model", tooltip="A video model, ours or core's."),
        io.Conditioning.Input("positive", tooltip="From SVD Image to Video; its frames are a chunk's."),
        io.Conditioning.Input("negative", tooltip="From SVD Image to Video."),
    ]


def _chunk(name: str, values: dict) -> Chunk:
    """The sampling that the inputs of a node say."""
    model, positive, negative = (values[key] for key in ("model", "positive", "negative"))
    _check(name, model, positive, negative)
    frames = _frames_of_chunk(name, positive, negative, values["overlap"])
    guidance = (values[key] for key in ("shape", "min_guidance", "max_guidance", "scales"))
    levels = {key: values[key] for key in ("sigma_max", "sigma_min", "rho")}
    return Chunk(
        _guided(name, model, *guidance),
        positive,
        negative,
        frames,
        values["sampler"],
        make_sigmas(values["schedule"], values["steps"], **levels),
    )


class Extend(io.ComfyNode):
    """A sampled clip that goes on for another chunk."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionExtend",
            display_name="SVD Extend",
            category=CATEGORY,
            description="Goes on from the last frames of a sampled clip. Several in a row make it ever "
            "longer, as SVD Long Video does at once.",
            search_aliases=["svd", "extend", "continue", "longer", "chain", "long video", "last frame"],
            inputs=[
                *_models_inputs(),
                io.Latent.Input("latent", tooltip="A sampled clip, from SVD KSampler or SVD Extend."),
                seed_input(),
                *_sampling_inputs(),
            ],
            outputs=[io.Latent.Output(tooltip="The clip, longer by a chunk less the overlap.")],
        )

    @classmethod
    @checked
    def execute(cls, latent, seed, overlap, match, **values) -> io.NodeOutput:
        name = cls.define_schema().display_name
        chunk = _chunk(name, {**values, "overlap": overlap})
        _check_holding(chunk.sampler)
        clip = _one_clip(name, latent)
        check_finite(clip, "in the latent to extend; look at the node that made it")
        if not clip.any():
            raise ValueError(
                "the latent is empty, as it comes from SVD Image to Video; sample it with SVD KSampler first."
            )
        if len(clip) < overlap:
            raise ValueError(
                f"overlap is {overlap}, but the latent has {len(clip)} frames; it must be 1 to {len(clip)}."
            )
        return io.NodeOutput(_long_latent(latent, extended(chunk, clip, seed, overlap, match)))


class LongVideo(io.ComfyNode):
    """A clip of any length, in one node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionLongVideo",
            display_name="SVD Long Video",
            category=CATEGORY,
            description="Samples a clip of any length with the memory of a short one.",
            search_aliases=[
                "svd",
                "long video",
                "longer",
                "length",
                "more frames",
                "sliding window",
                "chain",
            ],
            inputs=[
                *_models_inputs(),
                io.Latent.Input("latent", tooltip="From SVD Image to Video: empty, as long as a chunk."),
                seed_input(),
                setting("num_frames", "frames", default=100, tooltip="Frames of the whole clip."),
                setting("long", options=LONG, default=CHAIN),
                *_sampling_inputs(),
            ],
            outputs=[io.Latent.Output(tooltip="The whole clip, for SVD Decode.")],
        )

    @classmethod
    @checked
    def execute(cls, latent, seed, frames, long, overlap, match, **values) -> io.NodeOutput:
        name = cls.define_schema().display_name
        chunk = _chunk(name, {**values, "overlap": overlap})
        shape = _one_clip(name, latent).shape[1:]
        if frames < chunk.frames:
            raise ValueError(
                f"frames is {frames}, fewer than the {chunk.frames} of SVD Image to Video; give more, or "
                "sample with SVD KSampler."
            )
        if long == CHAIN:
            _check_holding(chunk.sampler)
            samples = chained(chunk, shape, frames, seed, overlap, match)
        else:
            samples = in_windows(chunk, shape, frames, seed, overlap, long)
        return io.NodeOutput(_long_latent(latent, samples))
