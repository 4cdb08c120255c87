"""Nodes that sample: guidance frame by frame, noise levels, solvers, and all three in one."""

from collections.abc import Sequence

import torch
from comfy_api.v0_0_2 import io
from torch import Tensor

from ..clips.choices import HIGHEST_SIGMA
from ..clips.choices_over_time import MPD
from ..clips.noise import start_noise
from ..clips.presets import ANIMATE_LCM, SVD_XT, named
from ..clips.run import TRF, time_reversal_euler
from ..samplers import guidance, schedules, solvers
from ..samplers.schedules import SCHEDULES
from . import host, latents
from .checks import checked
from .hold import levels_from, start_input
from .inputs import interval_inputs, own_id, seed_input, setting
from .page import PRESETS
from .scales import guidance_inputs, over_frames

CATEGORY = "stillmotion/sampling"
OF_APG = ("parallel", "limit", "momentum")
LATER = {"optional": True, "advanced": True}
"""Options of an input that older workflows don't have."""
OWN_SOLVERS = {f"stillmotion {name}": name for name in solvers.SOLVERS}
EULERS = ("euler", "stillmotion euler")
"""Names of Euler's solver, which time-reversal fusion has return to earlier levels."""


def guided_model(
    model,
    shape: str,
    min_scale: float,
    max_scale: float,
    scales: str = "",
    interval: tuple[float, float] = guidance.EVERYWHERE,
    method: str = guidance.CFG,
    **of_apg: float,
):
    """A MODEL whose guidance has a scale for each frame, and none outside of the interval of sigmas.

    of_apg: parallel, limit and momentum of projected guidance; plain guidance has none of them.
    """
    interval, of_method = interval_of(*interval), of_apg if method == guidance.APG else {}
    of_frames = over_frames(shape, min_scale, max_scale, scales)

    def make_terms(num_frames: int) -> list[guidance.Term]:
        return [guidance.TERMS[method](of_frames(num_frames), interval, **of_method)]

    remembers = bool(of_method.get("momentum"))
    return host.with_guidance(model, make_terms, remembers)


def interval_of(low: float, high: float) -> tuple[float, float]:
    """The interval of σ of two inputs, which say all levels by the ends of their range."""
    if low > high:
        raise ValueError(f"the interval is {low:g} to {high:g}; give the lower sigma first.")
    return guidance.EVERYWHERE if low <= 0 and high >= HIGHEST_SIGMA else (low, high)


def make_sigmas(schedule: str, steps: int, **levels: float) -> Tensor:
    """The noise levels of a schedule, (steps + 1,), from its own of the levels sigma_max, sigma_min and rho.

    A graph has a value for each of them, whatever the schedule; the others are ignored.
    """
    row = SCHEDULES[schedule]
    return row.make(steps, **{name: levels[name] for name in row.numbers})


def make_sampler(name: str, churn: float = 0.0, seeds: Sequence[int] = ()):
    """A SAMPLER that runs one of our solvers; seeds are of the videos in the batch."""
    return host.make_sampler(solvers.find_solver(name, churn), seeds)


def make_between_sampler(method: str, seeds: Sequence[int] = ()):
    """A SAMPLER of a way between two pictures; seeds are of the videos in the batch."""
    if method == TRF:
        return host.make_sampler(time_reversal_euler, seeds)
    return host.make_between_sampler(method, seeds)


def sample_latent(
    model, positive, negative, latent: dict, sampler: str, sigmas: Tensor, seed: int, between: str = TRF
) -> dict:
    """The host's sampling of a LATENT, with its previews, progress and cancel.

    sampler is a name of the host's, or of OWN_SOLVERS. Each video has the seed that would make it alone.
    between is the way of clips that end on a picture; trf is sampled by any sampler.
    """
    samples = latents.samples_of(latent)
    frames = latents.frames_of_conditioning(positive, negative, latent)
    if frames and samples.shape[0] % frames == 0:  # otherwise the model refuses
        latent = {**latent, host.NUM_FRAMES: frames}
    frames = latents.frames_of_video(latent, "connect the latent of SVD Image to Video unchanged.")
    videos = samples.shape[0] // frames
    if videos > 1 and not host.keeps_videos_apart(model):
        raise ValueError(
            f"the latent holds {videos} videos, which core's model would mix; take the model of SVD Load "
            "Checkpoint, or one picture at a time."
        )
    seeds = latents.seeds_of_videos(latent, frames, seed)
    noise = torch.cat([start_noise(each, (frames, *samples.shape[1:])) for each in seeds])
    if isinstance(host.way_of(positive), host.Ends) and (between != TRF or sampler in EULERS):
        solver = make_between_sampler(between, seeds)
    else:
        solver = find_sampler(sampler, seeds)
    sampled = host.sample_latent(model, positive, negative, latent, noise, solver, sigmas, seed)
    return latents.without_closing_frame(sampled)


def find_sampler(name: str, seeds: Sequence[int]):
    """The SAMPLER of a name of the host's, or of OWN_SOLVERS; seeds are of the videos in the batch."""
    if name in OWN_SOLVERS:
        return make_sampler(OWN_SOLVERS[name], seeds=seeds)
    return host.named_sampler(name)


def sampler_input(**options) -> io.Combo.Input:
    """The solver, of the host's or of ours."""
    return setting(
        "sampler",
        options=[*host.SAMPLERS, *OWN_SOLVERS],
        default=SVD_XT.sampler,
        tooltip="The solver, ComfyUI's or ours, which turns noise into the clip step by step. Usual: euler.",
        **options,
    )


def schedule_inputs() -> list:
    """The noise levels."""
    return [
        setting("schedule", default=SVD_XT.schedule),
        setting("steps", default=SVD_XT.steps),
        # The ranges of saved workflows, which are narrower than a script's.
        setting("sigma_max", default=schedules.SIGMA_MAX, min=0.01, max=1e5, step=1.0, advanced=True),
        setting(
            "sigma_min",
            default=schedules.SIGMA_MIN,
            min=1e-5,
            max=100.0,
            step=0.001,
            round=False,
            advanced=True,
        ),
        setting("rho", default=schedules.RHO, advanced=True),
    ]


def between_input(**options) -> io.Combo.Input:
    """The way of clips between two pictures."""
    return setting("between", default=MPD, **options)


class Guidance(io.ComfyNode):
    """Guidance with a scale for each frame, for any sampler node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionGuidance",
            display_name="SVD Guidance",
            category=CATEGORY,
            description="Gives each frame a guidance scale of its own; the sampler node's cfg is not used.",
            search_aliases=["svd", "cfg", "guidance", "linear cfg", "triangle cfg", "video cfg"],
            inputs=[
                io.Model.Input("model", tooltip="A video model, ours or core's."),
                *guidance_inputs(),
                *interval_inputs("elsewhere a step takes half the time"),
                setting("guidance_method", "method", default=guidance.CFG, **LATER),
                *(setting(f"apg_{name}", name, default=0.0, **LATER) for name in OF_APG),
            ],
            outputs=[io.Model.Output(tooltip="The model with this guidance.")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        shape,
        min_guidance,
        max_guidance,
        scales,
        interval_low,
        interval_high,
        method=guidance.CFG,
        parallel=0.0,
        limit=0.0,
        momentum=0.0,
    ) -> io.NodeOutput:
        host.check_without_guidance(model, "SVD Guidance")
        of_frames = (shape, min_guidance, max_guidance, scales)
        of_apg = {"parallel": parallel, "limit": limit, "momentum": momentum}
        interval = (interval_low, interval_high)
        return io.NodeOutput(guided_model(model, *of_frames, interval, method, **of_apg))


class Schedule(io.ComfyNode):
    """Noise levels for core's custom samplers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionSchedule",
            display_name="SVD Schedule",
            category=CATEGORY,
            description="The noise levels to sample at, for core's SamplerCustom and SamplerCustomAdvanced.",
            search_aliases=["svd", "sigmas", "scheduler", "align your steps", "ays", "karras", "animatelcm"],
            inputs=[*schedule_inputs(), start_input()],
            outputs=[
                io.Sigmas.Output(tooltip="The noise levels, for SamplerCustom and SamplerCustomAdvanced.")
            ],
        )

    @classmethod
    @checked
    def execute(cls, schedule, steps, sigma_max, sigma_min, rho, start_at=0.0) -> io.NodeOutput:
        sigmas = make_sigmas(schedule, steps, sigma_max=sigma_max, sigma_min=sigma_min, rho=rho)
        return io.NodeOutput(levels_from(sigmas, start_at))


class Sampler(io.ComfyNode):
    """One of our solvers for core's custom samplers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionSampler",
            display_name="SVD Sampler",
            category=CATEGORY,
            description="A solver for core's SamplerCustom and SamplerCustomAdvanced.",
            search_aliases=["svd", "sampler", "euler", "heun", "dpm++", "lcm"],
            inputs=[
                setting("sampler", default=SVD_XT.sampler),
                setting("churn", advanced=True),
            ],
            outputs=[io.Sampler.Output(tooltip="The solver, for SamplerCustom and SamplerCustomAdvanced.")],
        )

    @classmethod
    @checked
    def execute(cls, sampler, churn) -> io.NodeOutput:
        return io.NodeOutput(make_sampler(sampler, churn))


class Preset(io.ComfyNode):
    """Guidance, solver, noise levels and numbers of the clip, by a name."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionPreset",
            display_name="SVD Preset",
            category=CATEGORY,
            description="Values that go together, for quality or speed, or of a distilled checkpoint such as "
            "AnimateLCM-SVD, for core's SamplerCustom and SVD Image to Video.",
            search_aliases=["svd", "animatelcm", "lcm", "few steps", "fast", "distilled", "turbo"],
            inputs=[
                io.Model.Input("model", tooltip="A video model; for AnimateLCM the distilled one."),
                setting(
                    "preset",
                    default=ANIMATE_LCM,
                    tooltip="Values of svd_xt, or of a checkpoint whose file does not tell.",
                ),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The model with the preset's guidance."),
                io.Sampler.Output(
                    "sampler", tooltip="The solver, for SamplerCustom and SamplerCustomAdvanced."
                ),
                io.Sigmas.Output(
                    "sigmas", tooltip="The noise levels, for SamplerCustom and SamplerCustomAdvanced."
                ),
                io.Int.Output("motion_bucket_id", tooltip="How much moves, for SVD Image to Video."),
                io.Float.Output("fps", tooltip="Frames a second, for SVD Image to Video and for the video."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, model, preset) -> io.NodeOutput:
        host.check_without_guidance(model, "SVD Preset")
        values = named(preset)
        return io.NodeOutput(
            guided_model(model, values.guidance, values.min_guidance, values.max_guidance),
            make_sampler(values.sampler),
            SCHEDULES[values.schedule].make(values.steps),
            values.motion_bucket_id,
            values.fps,
        )


class KSampler(io.ComfyNode):
    """Guidance, schedule and solver in one node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionKSampler",
            display_name="SVD KSampler",
            category=CATEGORY,
            description="Samples a video: core's KSampler with guidance frame by frame and SVD's schedules.",
            search_aliases=["svd", "stable video diffusion", "ksampler", "img2vid", "image to video"],
            inputs=[
                io.Model.Input("model", tooltip="A video model, ours or core's."),
                io.Conditioning.Input("positive", tooltip="From SVD Image to Video."),
                io.Conditioning.Input("negative", tooltip="From SVD Image to Video."),
                io.Latent.Input("latent", tooltip="From SVD Image to Video, or a video to sample anew."),
                seed_input(),
                sampler_input(extra_dict=PRESETS),
                *guidance_inputs(),
                *schedule_inputs(),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="How much is made anew: 1 is all; below 1 the latent's own content is kept in "
                    "part.",
                ),
                between_input(
                    **LATER,
                    tooltip="With SVD First and Last Frame: how the clip goes between its pictures. Sampler "
                    "and guidance count with trf alone.",
                ),
                start_input(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.Latent.Output(tooltip="The sampled video.")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        positive,
        negative,
        latent,
        seed,
        sampler,
        shape,
        min_guidance,
        max_guidance,
        scales,
        schedule,
        steps,
        sigma_max,
        sigma_min,
        rho,
        denoise,
        between=MPD,
        start_at=0.0,
    ) -> io.NodeOutput:
        doubts = host.size_doubts(model, latents.samples_of(latent))
        host.show_doubts(doubts, own_id(cls))
        host.check_without_guidance(model, "SVD KSampler")
        host.check_conditioning(model, "positive", positive)
        host.check_conditioning(model, "negative", negative)
        if not isinstance(host.way_of(positive), host.Ends) or between == TRF:
            model = guided_model(model, shape, min_guidance, max_guidance, scales)
        # As core does it: more steps, of which only the last are taken.
        levels = {"sigma_max": sigma_max, "sigma_min": sigma_min, "rho": rho}
        sigmas = make_sigmas(schedule, round(steps / denoise), **levels)[-(steps + 1) :]
        sigmas = levels_from(sigmas, start_at)
        return io.NodeOutput(sample_latent(model, positive, negative, latent, sampler, sigmas, seed, between))
