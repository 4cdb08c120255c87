"""LoRAs as patches of the host: they stack with other nodes' patches, are offloaded and undone with them."""

from comfy.weight_adapter import LoRAAdapter

from ...svd_model.adapters.lora import Delta, LoRA, Strengths, is_temporal
from .files import path_of
from .model import check_video_model

_UNET = "diffusion_model."


def with_lora(model, name: str, strengths: Strengths):
    """A copy of a MODEL with a LoRA, by its name in the host's folders, and a sentence on what it found."""
    check_video_model(model)
    state = model.model_state_dict(_UNET)
    shapes = {key.removeprefix(_UNET): tuple(tensor.shape) for key, tensor in state.items()}
    lora = LoRA.open(path_of("lora", name), shapes)
    patched = model.clone()
    for temporal, strength in ((False, strengths.spatial), (True, strengths.temporal)):
        if strength:
            patches = {
                _UNET + key: _patch(delta)
                for key, delta in lora.deltas.items()
                if is_temporal(key) == temporal
            }
            patched.add_patches(patches, strength)
    return patched, lora.report


def _patch(delta: Delta) -> LoRAAdapter | tuple:
    """A difference as the host takes it: one tensor, or two and an alpha, which it divides by the rank."""
    if delta.down is None:
        return "diff", (delta.difference(),)
    alpha = delta.scale * delta.down.shape[0]
    return LoRAAdapter(set(), (delta.up, delta.down, alpha, None, None, None))
