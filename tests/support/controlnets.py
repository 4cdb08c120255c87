"""Small files of a temporal ControlNet, in diffusers' names, made of named tensors."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from stillmotion.svd_model.networks.controlnet import ControlNet
from stillmotion.svd_model.networks.unet import UNetParams
from support import diffusers_keys, tiny
from support.named_tensors import NamedTensors

FILE = "diffusion_pytorch_model.safetensors"


def tensors(params: UNetParams = tiny.UNET, prefix: str = "controlnet.") -> dict[str, Tensor]:
    """Tensors of a ControlNet, drawn by their names behind a prefix."""
    names = diffusers_keys.unet(ControlNet(params, device="meta").state_dict(), params.num_res_blocks)
    named = NamedTensors()
    return {key: named.weight(prefix + key, meta.shape) for key, meta in names.items()}


def write(
    path: Path,
    params: UNetParams = tiny.UNET,
    dtype: torch.dtype = torch.float32,
    **changes: Tensor | None,
) -> Path:
    """Writes a ControlNet; changes replace tensors, and None leaves a tensor out."""
    content = {key: tensor.to(dtype) for key, tensor in tensors(params).items()} | changes
    save_file({key: value for key, value in content.items() if value is not None}, path)
    return path
