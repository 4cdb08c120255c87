"""Small decoders and encoders with named weights, and budgets for them."""

import functools

import torch
from torch import Tensor, nn

from stillmotion.svd_model import layerwise
from stillmotion.svd_model.networks.vae import ImageEncoder, VideoDecoder
from support import tiny
from support.named_tensors import NamedTensors
from support.rounding import Reference


def decoder(
    temporal: bool = True, post_quant_conv: bool = False, sizes: tiny.Sizes = tiny.SMALL
) -> VideoDecoder:
    return filled(VideoDecoder(sizes.vae, temporal=temporal, post_quant_conv=post_quant_conv))


def encoder(sizes: tiny.Sizes = tiny.SMALL) -> ImageEncoder:
    return filled(ImageEncoder(sizes.vae, quant_conv=True))


def filled(network: nn.Module) -> nn.Module:
    named = NamedTensors()
    state = {key: named.weight(key, value.shape) for key, value in network.state_dict().items()}
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


@functools.cache
def _pair(temporal: bool, sizes: tiny.Sizes) -> tuple[VideoDecoder, VideoDecoder]:
    """A decoder in float32 and in float64; a frame-wise one has its 1×1 convolution."""
    return tuple(decoder(temporal, not temporal, sizes).to(dtype) for dtype in (torch.float32, torch.float64))


def reference(
    z: Tensor, temporal: bool = True, sizes: tiny.Sizes = tiny.SMALL, ring: bool = False
) -> Reference:
    """Reference of a decode in one piece."""
    plain, exact = _pair(temporal, sizes)
    return Reference.of(lambda network, z: network(z, len(z) if temporal else 1, ring), plain, exact, z)


def planner(z: Tensor, temporal: bool = True, sizes: tiny.Sizes = tiny.SMALL) -> layerwise.DecodePlanner:
    frames, _, height, width = z.shape
    options = {"temporal": temporal, "dtype": z.dtype, "device": z.device}
    return layerwise.DecodePlanner(sizes.vae, frames, height, width, **options)


def plan(
    z: Tensor, budget: int | None = None, temporal: bool = True, sizes: tiny.Sizes = tiny.SMALL
) -> layerwise.LayerwisePlan:
    return planner(z, temporal, sizes).within(budget)


def smallest(z: Tensor, temporal: bool = True, sizes: tiny.Sizes = tiny.SMALL) -> int:
    """Smallest budget that works for latents."""
    return planner(z, temporal, sizes).smallest().peak


def budget_between(z: Tensor, share: float, temporal: bool = True, sizes: tiny.Sizes = tiny.SMALL) -> int:
    """Budget from the smallest that works (0) to the one without spilling or computing twice (1)."""
    least, most = smallest(z, temporal, sizes), plan(z, temporal=temporal, sizes=sizes).peak
    return least + round(share * (most - least))


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Largest error, relative to the largest magnitude."""
    return ((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max()).item()
