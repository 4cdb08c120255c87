"""A MODEL that follows latents under a mask, down to a noise level: for any sampler node, and for a run."""

import logging

import comfy.patcher_extension
import torch
from torch import Tensor

from ...clips.run import Constraint, constrained

logger = logging.getLogger(__name__)


def with_mask_until(model, until: float, frozen: Tensor | None):
    """A copy of a MODEL that heeds a LATENT's mask at levels above `until`, by core's own masking.

    frozen: where it is heeded at all levels, (1, 1, h, w) from 0 to 1. Raises ValueError for a MODEL with a
    node that does another thing with masks.
    """
    if "denoise_mask_function" in model.model_options:
        raise ValueError(
            "this model has Differential Diffusion or another SVD Hold before it, which SVD Hold would "
            "replace; take it out."
        )

    def mask_at(sigma: Tensor, denoise_mask: Tensor, extra_options: dict) -> Tensor:
        level, first = float(sigma.max()), float(extra_options["sigmas"][0])
        if level > until:
            return denoise_mask
        if level >= first:
            logger.warning(
                f"SVD Hold holds until {until:g}, and the first noise level is {first:.3g}: the clip begins "
                "with the coarse video and follows it nowhere. Raise start_at, lower until, or give more "
                "steps."
            )
        free = torch.ones_like(denoise_mask)
        if frozen is None:
            return free
        if frozen.shape[2:] != denoise_mask.shape[2:]:
            sizes = ("×".join(map(str, mask.shape[2:])) for mask in (frozen, denoise_mask))
            raise ValueError(
                "SVD Hold keeps a part still in latents of {}, and these are {}; connect its own "
                "latent to the sampler.".format(*sizes)
            )
        return free - frozen.to(free)

    patched = model.clone()
    patched.set_model_denoise_mask_function(mask_at)
    return patched


def with_constraint(model, constraint: Constraint):
    """A copy of a MODEL whose estimate follows a constraint, outermost, for every SAMPLER."""

    def predict(executor, x: Tensor, timestep: Tensor, model_options: dict, seed: int | None) -> Tensor:
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return executor(x, timestep, model_options, seed)

        return constrained(denoise, constraint)(x, timestep.max())

    patched = model.clone()
    patched.add_wrapper_with_key(
        comfy.patcher_extension.WrappersMP.PREDICT_NOISE, "stillmotion_constraint", predict
    )
    return patched
