"""Encode of images to latents, one at a time and layer by layer: exact, and within a budget of memory."""

from functools import partial

import torch
from torch import Tensor

from ..networks.vae import ImageEncoder
from .memory import BoundedPlan, Progress, no_progress
from .plan import EncodePlanner, LayerwisePlan
from .spatial import run_network


@torch.no_grad()
def encode_frames(
    encoder: ImageEncoder,
    images: Tensor,
    *,
    budget: int | None = None,
    device: torch.device | str | None = None,
    progress: Progress = no_progress,
) -> Tensor:
    """Returns the mode of the posterior, not scaled: (N, 3, H, W) in [−1, 1] -> (N, z_channels, H/8, W/8).

    The result is on the device, by default the images', in their dtype. budget: bytes that the encode of one
    image may take, without the weights, the images and the result; None for no bound. progress receives the
    share of images that are done. Raises NotEnoughMemoryError for a budget under the smallest that works.
    """
    encoder.check_images(images)
    device = images.device if device is None else torch.device(device)
    planner = EncodePlanner(encoder.params, *images.shape[2:], dtype=images.dtype, device=device)
    bounded = BoundedPlan(planner, budget, device)
    latents = []
    for index in range(len(images)):
        latents.append(bounded.with_budget(partial(_encode_alone, encoder, images, index, device)))
        progress((index + 1) / len(images))
    return torch.cat(latents)


def _encode_alone(
    encoder: ImageEncoder, images: Tensor, index: int, device: torch.device, plan: LayerwisePlan
) -> Tensor:
    """Encodes one image: (1, z_channels, H/8, W/8)."""
    x = run_network(encoder.encoder, images[index : index + 1].to(device), plan)
    return encoder.quant_conv(x)[:, : encoder.params.z_channels]
