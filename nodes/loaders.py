"""Nodes that load a checkpoint, or a decoder from another file."""

import functools
import os

import folder_paths
from comfy_api.v0_0_2 import io

from .. import builtin_model
from ..svd_model.checkpoint import Checkpoint, is_svd
from . import host
from .checks import checked

CATEGORY = "stillmotion/loaders"
FRAME_WISE = "frame-wise"
DECODERS = ["as in the file", FRAME_WISE]


def open_checkpoint(name: str) -> Checkpoint:
    """Opens the named checkpoint in the host's folders, or the built-in one."""
    if name == builtin_model.NAME:
        return builtin_model.load()
    return Checkpoint.open(folder_paths.get_full_path_or_raise("checkpoints", name))


@functools.lru_cache(maxsize=4096)
def _is_svd(path: str, modified: int, size: int) -> bool:
    """is_svd, cached by path, time and size: the host asks for choices whenever it lists or runs a node."""
    return is_svd(path)


def _can_be_opened(name: str) -> bool:
    path = folder_paths.get_full_path("checkpoints", name)
    try:
        found = os.stat(path)
    except (OSError, TypeError):  # deleted since the folder was listed
        return False
    return _is_svd(path, found.st_mtime_ns, found.st_size)


def checkpoint_input() -> io.Combo.Input:
    """Choice of a checkpoint: SVD files, the built-in model, then all other files, for saved workflows."""
    names = folder_paths.get_filename_list("checkpoints")
    svd = {name for name in names if _can_be_opened(name)}
    first, rest = ([name for name in names if (name in svd) == known] for known in (True, False))
    return io.Combo.Input(
        "checkpoint",
        options=[*first, builtin_model.NAME, *rest],
        tooltip="In models/checkpoints: svd, svd_xt, their image_decoder files, sv3d_u or sv3d_p. "
        f"Without any, {builtin_model.NAME}: a small one for a first try, 14 frames of 128×128.",
    )


class LoadCheckpoint(io.ComfyNode):
    """Node that loads the three parts of a checkpoint as the host's types."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionLoadCheckpoint",
            display_name="SVD Load Checkpoint",
            category=CATEGORY,
            description="Loads a Stable Video Diffusion checkpoint with Stillmotion's networks.",
            search_aliases=["svd", "stable video diffusion", "img2vid", "image to video", "sv3d", "loader"],
            inputs=[checkpoint_input()],
            outputs=[
                io.Model.Output(tooltip="The diffusion model, for any sampler."),
                io.ClipVision.Output(tooltip="The image tower, for SVD Image to Video."),
                io.Vae.Output(tooltip="The VAE; its temporal decoder takes all frames of a video together."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, checkpoint: str) -> io.NodeOutput:
        opened = open_checkpoint(checkpoint)
        return io.NodeOutput(host.load_model(opened), host.load_image_tower(opened), host.load_vae(opened))


class LoadVAE(io.ComfyNode):
    """Node that loads the VAE of a checkpoint with a choice of decoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionLoadVAE",
            display_name="SVD Load VAE",
            category=CATEGORY,
            description="Loads the VAE of another SVD file, such as the frame-wise one of svd_image_decoder.",
            search_aliases=["svd", "vae", "image decoder", "temporal decoder", "frame-wise"],
            inputs=[
                checkpoint_input(),
                io.Combo.Input(
                    "decoder",
                    options=DECODERS,
                    default=DECODERS[0],
                    tooltip="frame-wise takes each frame on its own: quicker, more flicker.",
                ),
            ],
            outputs=[io.Vae.Output(tooltip="The VAE, for SVD Decode and for core's VAE nodes.")],
        )

    @classmethod
    @checked
    def execute(cls, checkpoint: str, decoder: str) -> io.NodeOutput:
        return io.NodeOutput(host.load_vae(open_checkpoint(checkpoint), frame_wise=decoder == FRAME_WISE))
