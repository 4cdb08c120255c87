"""A small model of SVD's shape that needs no download, for a first try and for tests.

Until a trained one exists its weights are random, so its clips are moving patterns, not the picture.
"""

import json
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from ..svd_model import layout
from ..svd_model.checkpoint import METADATA_KEY, Checkpoint
from ..svd_model.tensor_file import TensorFile
from ..svd_model.unet import UNetParams, VideoUNet
from ..svd_model.vae import ImageEncoder, VAEParams, VideoDecoder
from ..svd_model.vision import VisionParams, VisionTransformer

NAME = "stillmotion-tiny (built in)"
NOTICE = (
    "The built-in model is random, not trained: its clips are moving patterns, which show that all runs. "
    "For real clips give an SVD file with --checkpoint."
)
SEED = 20261122
SIZES = {"num_frames": 14, "width": 128, "height": 128, "head_channels": 16, "vision_head_width": 16}


def load() -> Checkpoint:
    """The built-in checkpoint, the same each time."""
    generator = torch.Generator("cpu").manual_seed(SEED)
    unet = UNetParams(model_channels=32, head_channels=SIZES["head_channels"], context_dim=64)
    vae = VAEParams(channels=32)
    vision = VisionParams(
        width=64, layers=2, head_width=SIZES["vision_head_width"], mlp_width=256, output_dim=unet.context_dim
    )
    networks = {
        layout.UNET: VideoUNet(unet, device="meta"),
        layout.FIRST_STAGE: VideoDecoder(vae, temporal=True, post_quant_conv=False, device="meta"),
        layout.CONDITION_VAES[0]: ImageEncoder(vae, quant_conv=True, device="meta"),
        layout.VISION: VisionTransformer(vision, device="meta"),
    }
    tensors = {}
    for prefix, network in networks.items():
        tensors |= {prefix + key: tensor for key, tensor in _random_weights(network, generator).items()}
    return Checkpoint(TensorFile.of_tensors(Path(NAME), tensors, {METADATA_KEY: json.dumps(SIZES)}))


def _random_weights(network: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Norms at 1, biases at 0, the rest normal with the variance that keeps activations the same size."""
    weights = {}
    for key, meta in network.state_dict().items():
        if meta.ndim >= 2:
            fan_in = math.prod(meta.shape[1:])
            weights[key] = torch.randn(meta.shape, generator=generator) / math.sqrt(fan_in)
        else:
            weights[key] = torch.ones(meta.shape) if key.endswith("weight") else torch.zeros(meta.shape)
    return weights
