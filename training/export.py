"""Export of the trained networks as one float16 file in the released layout, described in its metadata."""

import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from stillmotion.svd_model.checkpoint.layouts import released
from stillmotion.svd_model.checkpoint.notes import LATENT_RGB, METADATA_KEY

from . import clips, sizes

MOST_BYTES = 14_000_000


def export(path: Path, networks: dict[str, nn.Module], how: str, latent_rgb: list[list[float]]) -> None:
    """Writes networks, keyed by their prefix, in float16.

    how: a sentence on the training. latent_rgb: the result of latent_colours.fit for the encoder. Raises
    ValueError for weights that are not finite in float16, and for a file above MOST_BYTES.
    """
    tensors = {
        prefix + key: tensor.detach().half().contiguous()
        for prefix, network in networks.items()
        for key, tensor in network.state_dict().items()
    }
    notes = {
        "num_frames": clips.NUM_FRAMES,
        "width": clips.SIZE,
        "height": clips.SIZE,
        "head_channels": sizes.HEAD_CHANNELS,
        "vision_head_width": sizes.VISION_HEAD_WIDTH,
        LATENT_RGB: latent_rgb,
        "trained": how,
        "licence": "Apache-2.0",
    }
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError("a weight is not finite in float16; train with a lower learning rate.")
    content = save(tensors, {METADATA_KEY: json.dumps(notes), "format": "pt"})
    if len(content) > MOST_BYTES:
        raise ValueError(f"the model has {len(content)} bytes; at most {MOST_BYTES} are to be shipped.")
    write(path, content)


def write(path: Path, content: bytes) -> None:
    """Replaces a file atomically; a process that has the old one mapped goes on reading the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)


def layout_of(autoencoder: nn.Module, temporal: nn.Module, unet: nn.Module, tower: nn.Module) -> dict:
    """Networks keyed by their prefix in the file; the encoder is stored once, in the conditioning VAE."""
    condition_vae = released.CONDITION_VAES[0]
    return {
        released.UNET: unet,
        released.FIRST_STAGE: temporal,
        condition_vae: nn.ModuleDict(
            {
                "encoder": autoencoder.encoder.encoder,
                "quant_conv": autoencoder.encoder.quant_conv,
                "decoder": autoencoder.decoder.decoder,
                "post_quant_conv": autoencoder.decoder.post_quant_conv,
            }
        ),
        released.VISION: tower,
    }
