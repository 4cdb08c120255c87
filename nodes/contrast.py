"""Node for sampled latents, before they are decoded."""

import torch
from comfy_api.v0_0_2 import io

from ..clips.contrast import even_contrast
from ..clips.presets import EXVIDEO
from .checks import checked
from .inputs import setting
from .latents import frames_of_video, samples_of

_REMEDY = "connect the latent of the sampler unchanged."


class Contrast(io.ComfyNode):
    """Node that gives each frame of a video the mean and the spread of the whole video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionContrast",
            display_name="SVD Contrast",
            category="stillmotion/sampling",
            description="Evens the contrast of sampled latents over the frames of a video, and raises it, "
            "for long clips, whose frames turn grey. ExVideo's clips are made with it.",
            search_aliases=["svd", "exvideo", "contrast", "grey", "normalise", "latent"],
            inputs=[
                io.Latent.Input("latent", tooltip="Latents from a sampler, of one video or several."),
                setting(
                    "contrast",
                    default=EXVIDEO.contrast,
                    tooltip="How far contrast is raised, over the mean and the spread that each frame gets "
                    "of its video. 1.2 is ExVideo's, 1 only evens.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    tooltip="The latents with even contrast, for SVD Decode and for core's VAE nodes."
                )
            ],
        )

    @classmethod
    @checked
    def execute(cls, latent, contrast) -> io.NodeOutput:
        samples = samples_of(latent)
        videos = samples.unflatten(0, (-1, frames_of_video(latent, _REMEDY)))
        even = torch.cat([even_contrast(video, contrast) for video in videos])
        return io.NodeOutput({**latent, "samples": even})
