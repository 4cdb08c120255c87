"""Images to latents, one at a time and layer by layer, within a budget of memory and exactly."""

from functools import partial

import torch
from torch import Tensor, nn

from ..networks import kernels
from ..networks.vae import ImageEncoder
from . import spatial
from .memory import Bounded, Progress, silent
from .plan import LayerwisePlan, plan_encode
from .spatial import Normaliser


@torch.no_grad()
def encode_frames(
    encoder: ImageEncoder,
    images: Tensor,
    *,
    budget: int | None = None,
    device: torch.device | str | None = None,
    progress: Progress = silent,
) -> Tensor:
    """The mode of the posterior, not scaled: (N, 3, H, W) in [−1, 1] -> (N, z_channels, H/8, W/8).

    The result is on the device, which is that of the images if none is given, in their dtype. budget: bytes
    for one image on its way, besides the weights, the images and the result; None for no bound. Raises
    NotEnoughMemoryError for a budget under the smallest that works. progress gets the share that is done.
    """
    encoder.check_images(images)
    device = images.device if device is None else torch.device(device)
    height, width = images.shape[2:]
    make = partial(plan_encode, encoder.params, height, width, dtype=images.dtype, device=device)
    bounded = Bounded(lambda budget: make(budget=budget), budget, device)
    latents = []
    for index in range(len(images)):
        latents.append(bounded.attempt(partial(_encode_alone, encoder, images, index, device)))
        progress((index + 1) / len(images))
    return torch.cat(latents)


def _encode_alone(
    encoder: ImageEncoder, images: Tensor, index: int, device: torch.device, plan: LayerwisePlan
) -> Tensor:
    """One image, (1, z_channels, H/8, W/8)."""
    x = images[index : index + 1].to(device)
    x = x.contiguous(memory_format=kernels.memory_format(x.device))
    for layer, (before, block) in zip(plan.layers, layers_of(encoder.encoder), strict=False):
        x = spatial.through(before, block, x, layer.rows, layer.scores)
    network, rows = encoder.encoder, plan.layers[-1].rows
    x = spatial.convolve(network.conv_out, x, rows, Normaliser.of(network.norm_out, x))
    if not isinstance(encoder.quant_conv, nn.Identity):
        x = spatial.convolve(encoder.quant_conv, x, rows)
    return x[:, : encoder.params.z_channels]


def layers_of(encoder: nn.Module) -> list[tuple[nn.Module | None, nn.Module]]:
    """The residual blocks of an encoder in order, each with what comes before it."""
    layers = []
    before = encoder.conv_in
    for level in encoder.down:
        for block in level.block:
            layers.append((before, block))
            before = None
        before = getattr(level, "downsample", None)
    return [*layers, (before, encoder.mid.block_1), (encoder.mid.attn_1, encoder.mid.block_2)]
