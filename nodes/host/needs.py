"""Memory that a clip needs, and doubts about what the user meant, shown on a node."""

import logging
from collections.abc import Sequence

import comfy.model_management
import torch
from server import PromptServer

from ...clips import needs
from ...clips.plan import Plan
from ...clips.settings import Settings
from ...svd_model.checkpoint import Checkpoint

logger = logging.getLogger(__name__)


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


_DOUBTED: set[str] = set()
"""Nodes that show doubts."""


def show_doubts(doubts: Sequence[str], node_id: str | None) -> None:
    """Logs what the user may have meant otherwise, and shows it on the node until a run without doubts."""
    for doubt in doubts:
        logger.warning(doubt)
    if doubts:
        show_on_node("\n".join(doubts), node_id)
        _DOUBTED.add(node_id)
    elif node_id in _DOUBTED:  # the page takes no text away, and shows none that is empty
        show_on_node("nothing to note", node_id)
        _DOUBTED.discard(node_id)
