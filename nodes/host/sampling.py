"""SAMPLER and sampling, in the signatures of the host."""

from collections.abc import Callable, Sequence
from functools import partial

import comfy.model_management
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ...clips.noise import seed_of_video, step_noise
from ...samplers.bidirectional import BIDIRECTIONAL
from ...svd_model.networks.finite import FiniteCheck, check_finite, complaint_of_sampling
from .moving import fps_of, preview_callback
from .shared import NUM_FRAMES
from .values import frames_in_run
from .ways import Ends, WayGuider, make_guider

SAMPLERS = list(comfy.samplers.KSampler.SAMPLERS)
"""Names of the host's own samplers."""


def named_sampler(name: str):
    """The host's SAMPLER of a name."""
    return comfy.samplers.sampler_object(name)


def make_sampler(solver: Callable, seeds: Sequence[int] = ()):
    """A SAMPLER of a solver(denoise, x, sigmas, *, noise, callback).

    Each video of a batch has a stream of noise of its own; without `seeds` they
    count on from the seed of the run.
    """

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        extra_args = extra_args or {}
        ones = x.new_ones([x.shape[0]])

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return model(x, sigma * ones, **extra_args)

        sigmas = sigmas.cpu()  # solvers read them, and would wait for a GPU at every step
        noise = _noise(seeds or _seeds_of_run(model, len(x), extra_args), x)
        return solver(denoise, x, sigmas, noise=noise, callback=_after_step(sigmas, callback))

    return comfy.samplers.KSAMPLER(sample)


def make_between_sampler(method: str, seeds: Sequence[int] = ()):
    """A SAMPLER of a method in BIDIRECTIONAL, which asks a WayGuider for both pictures; seeds as above."""

    def sample(model, x, sigmas, extra_args=None, callback=None, disable=None):
        extra_args, guider = extra_args or {}, model.inner_model
        _check_between(method, guider, extra_args.get("denoise_mask"))
        sigmas = sigmas.cpu()
        noise = _noise(seeds or _seeds_of_run(model, len(x), extra_args), x)
        report = _after_step(sigmas, callback)

        def after_step(step: int, x: Tensor, denoised: Tensor) -> None:
            report(step, x.flatten(0, 1), denoised.flatten(0, 1))

        videos = x.unflatten(0, (-1, guider.frames))
        ends = guider.ends(videos, extra_args.get("model_options", {}))
        x = BIDIRECTIONAL[method](*ends, videos, sigmas, noise=noise, callback=after_step)
        return x.flatten(0, 1)

    return comfy.samplers.KSAMPLER(sample)


def _check_between(method: str, guider, denoise_mask: Tensor | None) -> None:
    """Raises ValueError where a method in BIDIRECTIONAL has no end picture, or a mask."""
    if not isinstance(guider, WayGuider) or not isinstance(guider.way, Ends):
        raise ValueError(
            f"{method} goes between two pictures, and this guider ({type(guider).__name__}) has no end "
            "picture; connect SVD First and Last Frame Guider, with the positive of SVD First and Last Frame."
        )
    if denoise_mask is not None:
        raise ValueError(
            f"the latent has a mask, which {method} can't keep to; take the mask out, or choose trf."
        )


def _noise(seeds: Sequence[int], x: Tensor) -> Callable[[Tensor], Tensor]:
    """Draws noise like a batch of frames, or of videos, with a stream for each video."""
    streams = [step_noise(seed) for seed in seeds]
    of_video = (len(x) // len(streams), *x.shape[1:])

    def noise(x: Tensor) -> Tensor:
        return torch.cat([draw(of_video) for draw in streams]).view(x.shape).to(x)

    return noise


def _after_step(sigmas: Tensor, callback: Callable | None) -> Callable[[int, Tensor, Tensor], None]:
    """Tells the host's callback of a step."""

    def after_step(step: int, x: Tensor, denoised: Tensor) -> None:
        if callback is not None:
            levels = {"sigma": sigmas[step], "sigma_hat": sigmas[step]}
            callback({"x": x, "i": step, "denoised": denoised, **levels})

    return after_step


def _seeds_of_run(model, total: int, extra_args: dict) -> list[int]:
    """Seeds of the videos in a run over that many frames."""
    seed = extra_args.get("seed") or 0
    frames = frames_in_run(getattr(model, "inner_model", None), total)
    return [seed_of_video(seed, video) for video in range(total // frames)]


def sample_latent(
    model,
    positive,
    negative,
    latent: dict,
    noise: Tensor,
    sampler,
    sigmas: Tensor,
    seed: int,
    run: tuple[int, int] = (1, 1),
) -> dict:
    """Samples a LATENT through the host, with previews, progress and cancel.

    noise is N(0, 1) in the shape of the latent; seed is for the samplers that draw more. run: its number
    from 1, and how many runs the clip has, all of as many steps. Progress counts the steps of all.
    """
    samples, (number, runs) = latent["samples"], run
    check_finite(samples, "in the latent to sample; look at the node that made it")
    steps = len(sigmas) - 1
    fps = fps_of(options for _, options in positive)
    preview = preview_callback(model, runs * steps, latent.get(NUM_FRAMES, len(samples)), fps)
    check = FiniteCheck(partial(_refuse_not_finite, model.model.get_dtype_inference()))

    def callback(step: int, x0: Tensor, x: Tensor, total: int) -> None:
        check.look_at(x0, f"at step {step + 1} of {steps}")
        preview((number - 1) * steps + step, x0, x, runs * total)

    result = make_guider(model, positive, negative).sample(
        noise,
        samples,
        sampler,
        sigmas,
        latent.get("noise_mask"),
        callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    management = comfy.model_management
    result = result.to(management.intermediate_device(), management.intermediate_dtype())
    check.look_at(result, "after the last step")
    check.finish()
    return {**latent, "samples": result}


def _refuse_not_finite(dtype: torch.dtype, where: str) -> None:
    raise complaint_of_sampling(where, dtype, "start ComfyUI with --bf16-unet or --fp32-unet")
