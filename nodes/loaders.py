"""Nodes that load a checkpoint or its parts, a decoder from another file, a ControlNet, or a LoRA."""

from comfy_api.v0_0_2 import io

from .. import builtin_model
from ..clips.control import DEFAULTS
from ..svd_model.adapters.lora import Strengths
from ..svd_model.checkpoint import Checkpoint
from . import host
from .checks import checked
from .inputs import own_id, setting
from .page import DOWNLOAD

CATEGORY = "stillmotion/loaders"
FRAME_WISE = "frame-wise"
DECODERS = ["as in the file", FRAME_WISE]


def checkpoint_input() -> io.Combo.Input:
    """A choice of checkpoints; readable SVD files come first."""
    return io.Combo.Input(
        "checkpoint",
        options=host.checkpoint_names(),
        tooltip="In models/checkpoints: svd, svd_xt, their image_decoder files, sv3d_u or sv3d_p; in "
        "models/diffusers: a folder in diffusers' layout, whose name ends with a slash. "
        f"Without any, {builtin_model.NAME}: a small one for a first try, 14 frames of 128×128.",
        extra_dict=DOWNLOAD,
    )


def _part_input(part: str, words: str) -> io.Combo.Input:
    tooltip = f"In models/{host.FOLDERS[part]}. {words} A whole checkpoint there serves too."
    return io.Combo.Input(
        part, display_name=part.replace("_", " "), options=host.file_names(part), tooltip=tooltip
    )


def _outputs() -> list:
    return [
        io.Model.Output(tooltip="The diffusion model, for any sampler."),
        io.ClipVision.Output(tooltip="The image tower, for SVD Image to Video."),
        io.Vae.Output(tooltip="The VAE; its temporal decoder takes all frames of a video together."),
    ]


def _loaded(model, opened: Checkpoint, node_id: str | None) -> io.NodeOutput:
    """A MODEL, the other types of its checkpoint, and on the node the memory that its usual clip needs."""
    host.show_on_node(host.needs_of(opened, model), node_id)
    return io.NodeOutput(model, host.load_image_tower(opened), host.load_vae(opened))


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
            outputs=_outputs(),
        )

    @classmethod
    @checked
    def execute(cls, checkpoint: str) -> io.NodeOutput:
        opened = host.open_checkpoint(checkpoint)
        return _loaded(host.load_model(opened), opened, own_id(cls))


class LoadParts(io.ComfyNode):
    """Node that loads the parts of a checkpoint from files of their own."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionLoadParts",
            display_name="SVD Load Parts",
            category=CATEGORY,
            description="Loads a Stable Video Diffusion model whose parts lie in files of their own: a UNet, "
            "such as AnimateLCM-SVD-xt or your own, a VAE and a CLIP image tower, in any naming.",
            search_aliases=["svd", "unet", "diffusers", "animatelcm", "vae", "clip vision", "loader"],
            inputs=[
                _part_input("unet", "The UNet: released or diffusers' names."),
                _part_input("vae", "The VAE, temporal or of single images, with its encoder."),
                _part_input("image_encoder", "The CLIP image tower: transformers' or OpenCLIP's names."),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=_outputs(),
        )

    @classmethod
    @checked
    def execute(cls, unet: str, vae: str, image_encoder: str) -> io.NodeOutput:
        opened = host.open_parts(unet=unet, vae=vae, image_encoder=image_encoder)
        return _loaded(host.load_model(opened), opened, own_id(cls))


class LoadExVideo(io.ComfyNode):
    """Node that loads a checkpoint with ExVideo's temporal blocks, as the host's types."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionLoadExVideo",
            display_name="SVD Load ExVideo",
            category=CATEGORY,
            description="Loads svd_xt with ExVideo's temporal blocks in it, for clips of up to 128 frames. "
            "Below stands what memory its usual clip needs.",
            search_aliases=["svd", "exvideo", "long video", "128 frames", "loader"],
            inputs=[
                checkpoint_input(),
                io.Combo.Input(
                    "exvideo",
                    display_name="ExVideo",
                    options=host.file_names("exvideo"),
                    tooltip="In models/diffusion_models: ExVideo's model.fp16.safetensors, under any name.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=_outputs(),
        )

    @classmethod
    @checked
    def execute(cls, checkpoint: str, exvideo: str) -> io.NodeOutput:
        model, changed = host.load_exvideo(host.open_checkpoint(checkpoint), exvideo)
        return _loaded(model, changed, own_id(cls))


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
                    tooltip="How frames are decoded: frame-wise takes each on its own, which is quicker "
                    "and flickers more.",
                ),
            ],
            outputs=[io.Vae.Output(tooltip="The VAE, for SVD Decode and for core's VAE nodes.")],
        )

    @classmethod
    @checked
    def execute(cls, checkpoint: str, decoder: str) -> io.NodeOutput:
        opened = host.open_checkpoint(checkpoint)
        return io.NodeOutput(host.load_vae(opened, frame_wise=decoder == FRAME_WISE))


class LoadControlNet(io.ComfyNode):
    """Node that loads a temporal ControlNet as the host's CONTROL_NET."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionLoadControlNet",
            display_name="SVD Load ControlNet",
            category=CATEGORY,
            description="Loads a temporal ControlNet for SVD, which steers the clip by a depth map or a line "
            "drawing of each frame.",
            search_aliases=["svd", "controlnet", "temporal controlnet", "depth", "lineart", "control"],
            inputs=[
                io.Combo.Input(
                    "control_net",
                    display_name="ControlNet",
                    options=host.file_names("control_net"),
                    tooltip="In models/controlnet, such as temporal-controlnet-depth-svd-v1.",
                ),
                setting(
                    "control_weighting",
                    "weighting",
                    default=DEFAULTS["control_weighting"],
                    tooltip="How its features count: author as the ControlNet was trained, once as "
                    "other packs add them.",
                ),
            ],
            outputs=[
                io.ControlNet.Output(
                    tooltip="For core's Apply ControlNet, whose image is one picture for each frame, or one "
                    "for all."
                )
            ],
        )

    @classmethod
    @checked
    def execute(cls, control_net: str, weighting: str) -> io.NodeOutput:
        return io.NodeOutput(host.load_controlnet(control_net, weighting))


class LoadLoRA(io.ComfyNode):
    """Node that adds a LoRA to a model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        strength = {"min": -100.0, "max": 100.0, "step": 0.05, "default": 1.0}
        return io.Schema(
            node_id="StillmotionLoadLoRA",
            display_name="SVD Load LoRA",
            category=CATEGORY,
            description="Adds a LoRA of an SVD model, in the names of any trainer, with its own strength for "
            "motion. Several nodes in a row add up.",
            search_aliases=["svd", "lora", "adapter", "peft", "kohya", "motion"],
            inputs=[
                io.Model.Input("model", tooltip="The model of SVD Load Checkpoint, or core's SVD."),
                io.Combo.Input(
                    "lora",
                    display_name="LoRA",
                    options=host.file_names("lora"),
                    tooltip="In models/loras: a LoRA of SVD.",
                ),
                io.Float.Input(
                    "strength",
                    **strength,
                    tooltip="How much the LoRA changes: 1 as trained, 0 nothing, below 0 the opposite.",
                ),
                io.Float.Input(
                    "spatial",
                    display_name="spatial factor",
                    **strength,
                    advanced=True,
                    tooltip="A factor of strength for the layers within a frame, which decide how things "
                    "look; 1 is usual.",
                ),
                io.Float.Input(
                    "temporal",
                    display_name="temporal factor",
                    **strength,
                    advanced=True,
                    tooltip="A factor of strength for the layers over time, which decide how things move; 1 "
                    "is usual.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.Model.Output(tooltip="The model with the LoRA, for any sampler.")],
        )

    @classmethod
    @checked
    def execute(cls, model, lora: str, strength: float, spatial: float, temporal: float) -> io.NodeOutput:
        strengths = Strengths(strength * spatial, strength * temporal)
        patched, report = host.with_lora(model, lora, strengths)
        host.show_on_node(report, own_id(cls))
        return io.NodeOutput(patched)
