"""SAMPLER and sampling, in the signatures of the host."""

from collections.abc import Callable, Sequence
from functools import partial

import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ...clips.noise import seed_of_video, step_noise
from ...svd_model.networks.finite import FiniteCheck, check_finite, complaint_of_sampling
from .model import frames_in_run
from .previews import preview_callback
from .shared import NUM_FRAMES

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
        sigmas = sigmas.cpu()  # solvers read them, and would wait for a GPU at every step
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

        return solver(denoise, x, sigmas, noise=noise, callback=after_step)

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
    run: tuple[int, int] = (1, 1),
) -> dict:
    """Samples a LATENT through the host, with previews, progress and cancel.

    noise is N(0, 1) in the shape of the latent; seed is for the samplers that draw more. run: its number
    from 1, and how many runs the clip has, all of as many steps. Progress counts the steps of all.
    """
    samples, (number, runs) = latent["samples"], run
    check_finite(samples, "in the latent to sample; look at the node that made it")
    steps = len(sigmas) - 1
    preview = preview_callback(model, runs * steps, latent.get(NUM_FRAMES, len(samples)))
    check = FiniteCheck(partial(_refuse_not_finite, model.model.get_dtype_inference()))

    def callback(step: int, x0: Tensor, x: Tensor, total: int) -> None:
        check.look_at(x0, f"at step {step + 1} of {steps}")
        preview((number - 1) * steps + step, x0, x, runs * total)

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
