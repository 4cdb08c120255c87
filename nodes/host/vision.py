"""CLIP_VISION: the host's own, with the weights of the checkpoint."""

import comfy.clip_vision
import comfy.model_management
from torch import Tensor

from ...svd_model.checkpoint import Checkpoint
from ...svd_model.operations import without_autocast
from ...svd_model.vision import MEAN, STD
from .shared import network_weights


def load_image_tower(checkpoint: Checkpoint):
    """The CLIP_VISION of a checkpoint."""
    params = checkpoint.vision.params
    config = {
        "attention_dropout": 0.0,
        "hidden_act": "gelu",
        "hidden_size": params.width,
        "image_mean": list(MEAN),
        "image_size": params.image_size,
        "image_std": list(STD),
        "intermediate_size": params.mlp_width,
        "layer_norm_eps": 1e-5,
        "model_type": "clip_vision_model",
        "num_attention_heads": params.width // params.head_width,
        "num_channels": 3,
        "num_hidden_layers": params.layers,
        "patch_size": params.patch_size,
        "projection_dim": params.output_dim,
    }
    weights = network_weights(checkpoint, checkpoint.vision)
    tower = comfy.clip_vision.ClipVisionModel(config)
    weights = comfy.clip_vision.convert_to_transformers(weights, "")
    missing, _ = tower.load_sd(weights)
    if missing:
        raise ValueError(f"this ComfyUI names the image tower's weights otherwise (it misses {missing[0]}).")
    return tower


def check_image_tower(clip_vision) -> None:
    """Raises ValueError where CLIP_VISION is no tower that takes a square picture of a fixed size."""
    if clip_vision is None:
        raise ValueError(
            "clip_vision is empty: the file that it was loaded from has no image tower; connect the "
            "CLIP_VISION of SVD Load Checkpoint."
        )
    if not isinstance(clip_vision.image_size, int) or clip_vision.image_size <= 0:
        raise ValueError(
            f"clip_vision ({clip_vision.model_type}) takes pictures of any size, SVD's image tower a square; "
            "connect the CLIP_VISION of SVD Load Checkpoint."
        )


def embed_image(clip_vision, pixels: Tensor) -> Tensor:
    """The CLIP embedding, (N, 1, output_dim), of pictures that are preprocessed already."""
    comfy.model_management.load_models_gpu([clip_vision.patcher])
    pixels = pixels.to(clip_vision.load_device)
    with without_autocast(pixels.device):
        output = clip_vision.model(pixel_values=pixels, intermediate_output=-2)
    return output[2].to(comfy.model_management.intermediate_device()).float()[:, None]
