"""Memory that a clip needs, and doubts about what the user meant, shown on a node."""

import logging
from collections.abc import Sequence

import comfy.model_management
import torch
from server import PromptServer

from ...clips import needs
from ...clips.plan import Plan
from ...clips.presets import is_small
from ...clips.settings import Settings
from ...svd_model.checkpoint import Checkpoint
from ...svd_model.networks.controlnet import PIXELS

MOST_TIMES = 4
"""Times the area of its own clips that a small model may be asked for without a doubt."""

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


def size_doubts(model, samples: torch.Tensor) -> list[str]:
    """A sentence for latents, (..., h, w), far larger than the clips of a small model, the built-in one."""
    variant = getattr(model.model, "variant", None)
    if variant is None or not is_small(variant):
        return []
    height, width = (PIXELS * side for side in samples.shape[-2:])
    if width * height <= MOST_TIMES * variant.width * variant.height:
        return []
    return [
        f"the clip is {width}×{height}, and this model ({variant.name}) makes "
        f"{variant.width}×{variant.height}: set those in SVD Image to Video, or choose an SVD file, as "
        "the template First video with SVD-XT offers."
    ]


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
