"""Tiny decoders and encoders with named weights, and budgets for them."""

from torch import Tensor, nn

from stillmotion.svd_model import layerwise
from stillmotion.svd_model.vae import ImageEncoder, VideoDecoder
from support import tiny
from support.named_tensors import NamedTensors


def decoder(temporal: bool = True, post_quant_conv: bool = False) -> VideoDecoder:
    return filled(VideoDecoder(tiny.VAE, temporal=temporal, post_quant_conv=post_quant_conv))


def encoder() -> ImageEncoder:
    return filled(ImageEncoder(tiny.VAE, quant_conv=True))


def filled(network: nn.Module) -> nn.Module:
    named = NamedTensors()
    state = {key: named.weight(key, value.shape) for key, value in network.state_dict().items()}
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def plan(z: Tensor, budget: int | None = None, temporal: bool = True) -> layerwise.LayerwisePlan:
    frames, _, height, width = z.shape
    return layerwise.plan_decode(
        tiny.VAE, frames, height, width, temporal=temporal, dtype=z.dtype, budget=budget
    )


def smallest(z: Tensor, temporal: bool = True) -> int:
    """The smallest budget that works for those latents."""
    frames, _, height, width = z.shape
    size = (tiny.VAE, frames, height, width)
    return layerwise.smallest_budget(layerwise.plan_decode, *size, temporal=temporal, dtype=z.dtype)


def budget_between(z: Tensor, share: float) -> int:
    """From the smallest budget that works (0) to one under which nothing is spilled or computed twice (1)."""
    least = smallest(z)
    return least + round(share * (plan(z).peak - least))


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The largest error, relative to the largest magnitude."""
    return ((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max()).item()
