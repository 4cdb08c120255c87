"""CLIP_VISION: the host's own class, with the weights of the checkpoint."""

import comfy.clip_model
import comfy.clip_vision
import comfy.model_management
from torch import Tensor, nn

from ...svd_model.checkpoint import Checkpoint, notes
from ...svd_model.networks.operations import without_autocast
from ...svd_model.networks.vision import MEAN, STD


class ShallowEncoder(comfy.clip_model.CLIPEncoder):
    """The host's encoder of a tower with a single layer, whose last but one state is the layer's input."""

    def __init__(self, encoder: comfy.clip_model.CLIPEncoder):
        nn.Module.__init__(self)  # not the parent's: the layer is there
        self.layers = encoder.layers

    def forward(self, x: Tensor, mask=None, intermediate_output=None) -> tuple[Tensor, Tensor | None]:
        """The last state, and the intermediate state of an index."""
        first = x.clone() if intermediate_output == -2 else None  # the layer writes into x
        x, intermediate = super().forward(x, mask, intermediate_output)
        return x, intermediate if first is None else first


class ImageTower(comfy.clip_vision.ClipVisionModel):
    """The host's CLIP_VISION, of any depth; the notes of its file are saved with it."""

    def __init__(self, config: dict, file_notes: dict):
        super().__init__(config)
        self._notes = file_notes
        vision = self.model.vision_model
        if len(vision.encoder.layers) == 1:
            vision.encoder = ShallowEncoder(vision.encoder)

    def get_sd(self) -> dict:
        """The tensors to save."""
        return super().get_sd() | notes.as_tensors(self._notes)


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
    weights = checkpoint.vision.tensors()
    head_width = {k: value for k, value in checkpoint.notes.items() if k == notes.VISION_HEAD_WIDTH}
    tower = ImageTower(config, head_width)
    weights = comfy.clip_vision.convert_to_transformers(weights, "")
    missing, _ = tower.load_sd(weights)
    if missing:
        raise ValueError(f"this ComfyUI names the image tower's weights otherwise (it misses {missing[0]}).")
    return tower


def check_image_tower(clip_vision) -> None:
    """Raises ValueError unless CLIP_VISION is a tower for square pictures of a fixed size."""
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
    """The CLIP embedding of preprocessed pictures, (N, 3, H, W) -> (N, 1, output_dim)."""
    comfy.model_management.load_models_gpu([clip_vision.patcher])
    pixels = pixels.to(clip_vision.load_device)
    with without_autocast(pixels.device):
        output = clip_vision.model(pixel_values=pixels, intermediate_output=-2)
    return output[2].to(comfy.model_management.intermediate_device()).float()[:, None]
