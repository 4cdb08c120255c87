"""Sizes of the built-in model's networks, and their initial weights."""

import math

import torch
from torch import Tensor, nn

from stillmotion.svd_model.networks.unet import UNetParams, VideoUNet
from stillmotion.svd_model.networks.vae import ImageEncoder, VAEParams, VideoDecoder
from stillmotion.svd_model.networks.vision import VisionParams, VisionTransformer

from .precision import TrainedOperations

SEED = 20261124
CROPS, PICTURES, CLIPS, LATENTS, BATCHES = range(1, 6)
"""Purposes of random numbers, the second entry of a seed: each purpose has a stream of its own."""
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CONTEXT_DIM = 16
HEAD_CHANNELS, VISION_HEAD_WIDTH = 32, 16
UNET = UNetParams(
    model_channels=64,
    channel_mult=(1, 1, 1, 1),
    num_res_blocks=1,
    head_channels=HEAD_CHANNELS,
    context_dim=CONTEXT_DIM,
)
ENCODER = VAEParams(channels=32, channel_mult=(1, 1, 1, 2), num_res_blocks=1)
DECODER = VAEParams(channels=64, channel_mult=(1, 1, 1, 1), num_res_blocks=0)
VISION = VisionParams(width=32, layers=1, head_width=VISION_HEAD_WIDTH, mlp_width=64, output_dim=CONTEXT_DIM)
# A network that ends in a norm has 64 channels: with 32, each of the norm's 32 groups is one channel, and the
# norm removes its mean over the picture, which carries brightness and colour.

LAST_OF_BLOCK = ("out_layers.3.", "conv2.", "proj_out.", "out.2.")
"""Last layers of residual branches and of the UNet, initially zero so that they add nothing."""


def encoder() -> ImageEncoder:
    """Encoder of the conditioning VAE."""
    return initialised(ImageEncoder(ENCODER, quant_conv=True))


def frame_wise_decoder() -> VideoDecoder:
    """Decoder of the conditioning VAE."""
    return initialised(VideoDecoder(DECODER, temporal=False, post_quant_conv=True))


def temporal_decoder() -> VideoDecoder:
    """Decoder of the first stage."""
    return initialised(
        VideoDecoder(DECODER, temporal=True, post_quant_conv=False, operations=TrainedOperations)
    )


def unet() -> VideoUNet:
    """UNet of the diffusion model."""
    return initialised(VideoUNet(UNET, attention=matrix_attention))


def image_tower() -> VisionTransformer:
    """CLIP image tower, not trained: random weights, with outputs of about unit size."""
    return initialised(VisionTransformer(VISION)).eval().requires_grad_(False)


def matrix_attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention of (B, N, heads·d) as matrix products: on a CPU its gradient takes a fifth of the time."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # -> (B, heads, N, d)
    weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(dim=-1).to(v.dtype)
    return (weights @ v).transpose(1, 2).flatten(2)


def initialised(network: nn.Module) -> nn.Module:
    """Sets norms to 1, biases and last layers to 0, mixes to one half; draws all other weights from SEED.

    Embeddings are normal. The rest are uniform with a variance of 1/(3·fan-in).
    """
    generator = torch.Generator("cpu").manual_seed(SEED)
    for key, parameter in network.named_parameters():
        with torch.no_grad():
            if any(last in key for last in LAST_OF_BLOCK) or key.endswith(("bias", "mix_factor")):
                parameter.zero_()
            elif parameter.ndim == 1 and key.endswith("weight"):
                parameter.fill_(1)
            elif key.endswith("embedding"):
                parameter.normal_(0, 0.1, generator=generator)
            else:
                fan_in = parameter.shape[0] if key == "proj" else math.prod(parameter.shape[1:])
                parameter.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
    return network
