"""Memory that a clip needs, shown on a node."""

import comfy.model_management
import torch
from server import PromptServer

from ...clips import needs
from ...clips.plan import Plan
from ...clips.settings import Settings
from ...svd_model.checkpoint import Checkpoint


def needs_of(checkpoint: Checkpoint, model) -> str:
    """Memory of the usual clip of a checkpoint, for a MODEL of it, in lines of text."""
    settings = Plan.of(Settings(), checkpoint.variant).settings
    scale, device = checkpoint.decoder.params.downscale, comfy.model_management.get_torch_device()
    size = (settings.num_frames, settings.height // scale, settings.width // scale)
    stages = (
        needs.to_sample(checkpoint, size, model.model.get_dtype_inference(), device),
        needs.to_decode(checkpoint, size, False, torch.float32, device),
    )
    return "\n".join(["memory, weights included", *needs.in_words(stages)])


def show_on_node(text: str, node_id: str | None) -> None:
    """Shows text on a node in the page; None: there is no node, as where a script runs one alone."""
    if node_id is not None:
        PromptServer.instance.send_progress_text(text, node_id)
