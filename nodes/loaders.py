"""Nodes that load a checkpoint, or a decoder from another file."""

from comfy_api.v0_0_2 import io

from .. import builtin_model
from . import host
from .checks import checked

CATEGORY = "stillmotion/loaders"
FRAME_WISE = "frame-wise"
DECODERS = ["as in the file", FRAME_WISE]


def checkpoint_input() -> io.Combo.Input:
    """A choice of checkpoints; readable SVD files come first."""
    return io.Combo.Input(
        "checkpoint",
        options=host.checkpoint_names(),
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
            description="Loads a Stable Video Diffusion checkpoint with Stillmotion's networks. Below stands "
            "what memory its usual clip needs: the least, and from where on more makes nothing faster.",
            search_aliases=["svd", "stable video diffusion", "img2vid", "image to video", "sv3d", "loader"],
            inputs=[checkpoint_input()],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Model.Output(tooltip="The diffusion model, for any sampler."),
                io.ClipVision.Output(tooltip="The image tower, for SVD Image to Video."),
                io.Vae.Output(tooltip="The VAE; its temporal decoder takes all frames of a video together."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, checkpoint: str) -> io.NodeOutput:
        opened = host.open_checkpoint(checkpoint)
        model = host.load_model(opened)
        host.show_on_node(host.needs_of(opened, model), cls.hidden and cls.hidden.unique_id)
        return io.NodeOutput(model, host.load_image_tower(opened), host.load_vae(opened))


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
        opened = host.open_checkpoint(checkpoint)
        return io.NodeOutput(host.load_vae(opened, frame_wise=decoder == FRAME_WISE))
