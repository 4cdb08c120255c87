"""Small checkpoints in the released single-file layouts, made of named tensors."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from stillmotion.svd_model.checkpoint.layouts import released
from stillmotion.svd_model.networks.unet import UNetParams, VideoUNet
from stillmotion.svd_model.networks.vae import ImageEncoder, VideoDecoder
from stillmotion.svd_model.networks.vision import VisionTransformer
from support import tiny
from support.named_tensors import NamedTensors

VECTOR_DIMS = {"svd": 768, "svd_image_decoder": 768, "sv3d_u": 256, "sv3d_p": 1280, "motionctrl_svd": 768}


def unet_params(kind: str, sizes: tiny.Sizes = tiny.GOLDEN) -> UNetParams:
    """Sizes of the UNet in a checkpoint of a kind."""
    camera_dim = 12 if kind == "motionctrl_svd" else 0
    return replace(sizes.unet, vector_dim=VECTOR_DIMS[kind], camera_dim=camera_dim)


def tensors(
    kind: str = "svd", dtype: torch.dtype = torch.float32, sizes: tiny.Sizes = tiny.GOLDEN
) -> dict[str, Tensor]:
    """Tensors of a tiny checkpoint of a kind, including parts that inference does not use."""
    video = not kind.startswith("sv3d")
    temporal = kind in ("svd", "motionctrl_svd")
    condition_vae = released.CONDITION_VAES[0 if video else 1]
    unet = unet_params(kind, sizes)
    first_stage = VideoDecoder(
        sizes.vae, temporal=temporal, post_quant_conv=kind == "svd_image_decoder", device="meta"
    )
    networks = [
        (released.UNET, VideoUNet(unet, device="meta")),
        (released.VISION, VisionTransformer(sizes.vision, device="meta")),
        (released.FIRST_STAGE, first_stage),
        (condition_vae, ImageEncoder(sizes.vae, quant_conv=True, device="meta")),
        (condition_vae, VideoDecoder(sizes.vae, temporal=False, post_quant_conv=True, device="meta")),
    ]
    if video:
        encoder = ImageEncoder(sizes.vae, quant_conv=kind == "svd_image_decoder", device="meta")
        networks.append((released.FIRST_STAGE, encoder))
    named = NamedTensors()
    result = {
        prefix + key: named.weight(prefix + key, meta.shape).to(dtype)
        for prefix, network in networks
        for key, meta in network.state_dict().items()
    }
    result["conditioner.embedders.0.open_clip.model.logit_scale"] = torch.ones(())
    return result


def write(
    path: Path,
    kind: str = "svd",
    dtype: torch.dtype = torch.float32,
    sizes: tiny.Sizes = tiny.GOLDEN,
    **changes: Tensor | None,
) -> Path:
    """Writes a tiny checkpoint; changes replace tensors, and None leaves a tensor out."""
    content = tensors(kind, dtype, sizes) | changes
    save_file({key: value for key, value in content.items() if value is not None}, path)
    return path
