"""Guidance, SAMPLER and sampling: the shapes in which the host calls them, and in which it is called."""

from collections.abc import Callable, Sequence
from functools import partial

import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ...clips.noise import seed_of_video, step_noise
from ...svd_model.networks.finite import FiniteCheck, check_finite, complaint_of_sampling
from .model import check_video_model, frames_in_run, frames_of_video

SAMPLERS = list(comfy.samplers.KSampler.SAMPLERS)
"""The names of the host's own samplers."""


def with_guidance(model, matters: Callable[[int, Tensor], bool], guide: Callable):
    """A copy of a MODEL with guidance of its own, for any sampler node.

    matters(frames, sigma) says whether the unconditional prediction is wanted at all; where it is,
    guide(frames, conditional, unconditional) mixes both. frames are those of one video.
    """

    def predict(args: dict) -> list[Tensor]:
        conditional, unconditional = args["conds"]
        if not _looked_at(args["model_options"]) and not matters(frames_of_video(conditional), args["sigma"]):
            unconditional = None
        return comfy.samplers.calc_cond_batch(
            args["model"], [conditional, unconditional], args["input"], args["sigma"], args["model_options"]
        )

    def combine(args: dict) -> Tensor:
        frames = frames_of_video(args["input_cond"])
        if not matters(frames, args["sigma"]):
            return args["cond"]
        return guide(frames, args["cond"], args["uncond"])

    patched = model.clone()
    patched.set_model_sampler_cfg_function(combine, disable_cfg1_optimization=True)
    patched.set_model_sampler_calc_cond_batch_function(predict)
    return patched


def _looked_at(options: dict) -> bool:
    """Whether something besides the guidance takes the unconditional prediction: CFG++, SAG, Mahiro."""
    return any(options.get(name) for name in ("sampler_pre_cfg_function", "sampler_post_cfg_function"))


def check_without_guidance(model, name: str) -> None:
    """Raises ValueError for a MODEL that the node of that name can't give guidance."""
    check_video_model(model)
    replaced = ("sampler_cfg_function", "sampler_calc_cond_batch_function")
    if any(key in model.model_options for key in replaced):
        raise ValueError(
            f"this model has a guidance node before it, which {name} would replace; take it out, or sample "
            "with core's KSampler and that node alone."
        )


def named_sampler(name: str):
    """The host's SAMPLER of that name."""
    return comfy.samplers.sampler_object(name)


def make_sampler(solver: Callable, seeds: Sequence[int] = (), **options):
    """A SAMPLER of a solver(denoise, x, sigmas, *, noise, callback, **options).

    Each video of a batch has a stream of noise of its own; where the videos' seeds are not given, they count
    on from the seed of the run.
    """

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        extra_args = extra_args or {}
        sigmas = sigmas.cpu()  # solvers look at them, for which a GPU would be waited for at every step
        streams = [step_noise(seed) for seed in seeds or _seeds_of_run(model, len(x), extra_args)]
        of_video = (len(x) // len(streams), *x.shape[1:])
        ones = x.new_ones([x.shape[0]])

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return model(x, sigma * ones, **extra_args)

        def noise(x: Tensor) -> Tensor:
            return torch.cat([draw(of_video) for draw in streams]).to(x)

        def after_step(step: int, x: Tensor, denoised: Tensor) -> None:
            if callback is not None:
                levels = {"sigma": sigmas[step], "sigma_hat": sigmas[step]}
                callback({"x": x, "i": step, "denoised": denoised, **levels})

        return solver(denoise, x, sigmas, noise=noise, callback=after_step, **options)

    return comfy.samplers.KSAMPLER(sample)


def _seeds_of_run(model, total: int, extra_args: dict) -> list[int]:
    """Seeds of the videos in a run over that many frames."""
    seed = extra_args.get("seed") or 0
    return [seed_of_video(seed, video) for video in range(total // frames_in_run(model, total))]


def sample_latent(
    model,
    positive,
    negative,
    latent: dict,
    noise: Tensor,
    sampler,
    sigmas: Tensor,
    seed: int,
    picture: Callable,
) -> dict:
    """The host's sampling of a LATENT, with progress and cancel; picture(x0) is what its previews show.

    noise is N(0, 1) in the shape of the latent; seed is for the samplers that draw more.
    """
    samples = latent["samples"]
    check_finite(samples, "in the latent to sample; look at the node that made it")
    preview = latent_preview.prepare_callback(model, len(sigmas) - 1)
    check = FiniteCheck(partial(_refuse_not_finite, model.model.get_dtype_inference()))

    def callback(step: int, x0: Tensor, x: Tensor, total: int) -> None:
        check.look_at(x0, f"at step {step + 1} of {len(sigmas) - 1}")
        preview(step, picture(x0), x, total)

    result = comfy.sample.sample_custom(
        model,
        noise,
        1.0,
        sampler,
        sigmas,
        positive,
        negative,
        samples,
        noise_mask=latent.get("noise_mask"),
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    check.look_at(result, "after the last step")
    check.finish()
    return {**latent, "samples": result}


def _refuse_not_finite(dtype: torch.dtype, where: str) -> None:
    raise complaint_of_sampling(where, dtype, "start ComfyUI with --bf16-unet or --fp32-unet")
