"""Nodes of clips between two pictures, and of loops."""

from comfy_api.v0_0_2 import io
from torch import Tensor

from ..clips.between import skip_of
from ..clips.choices_over_time import PINNED, SHIFT
from ..clips.conditions import Conditions
from ..clips.settings import FIELDS
from ..samplers.guidance import constant
from . import host
from .checks import checked, verdict
from .conditioning import clip_inputs, condition_videos, embed_pictures, encode_pictures, fit_pictures
from .inputs import setting
from .sampling import CATEGORY as SAMPLING
from .sampling import between_input, make_between_sampler

CATEGORY = "stillmotion/conditioning"
NO_LOOP = "none"
FEWEST = {False: 2, True: 3}
"""Frames of a loop, and of a clip with an end picture."""


class FirstLastFrame(io.ComfyNode):
    """A picture that a clip begins with and one that it ends on, or a loop, as conditioning and latents."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionFirstLastFrame",
            display_name="SVD First and Last Frame",
            category=CATEGORY,
            description="Prepares a clip that ends on a second picture, or a loop, for SVD KSampler.",
            search_aliases=["svd", "first last frame", "flf", "end frame", "in-between", "loop", "keyframe"],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="From SVD Load Checkpoint."),
                io.Vae.Input("vae", tooltip="From SVD Load Checkpoint."),
                io.Image.Input("start", tooltip="The first frame; each picture of a batch gives a video."),
                *clip_inputs(),
                setting(
                    "loop",
                    options=[NO_LOOP, *FIELDS["loop"].kind.names],
                    default=NO_LOOP,
                    tooltip="Without an end: pinned begins and ends with the picture, shift stays near it, "
                    "as for water, smoke and leaves.",
                ),
                io.Image.Input(
                    "end", optional=True, tooltip="The last frame; one for all videos, or one for each."
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "positive", tooltip="Conditions with both pictures, for a sampler node."
                ),
                io.Conditioning.Output(
                    "negative", tooltip="Conditions without the pictures, which guidance leads away from."
                ),
                io.Latent.Output("latent", tooltip="Empty latents of all frames of all videos."),
            ],
        )

    @classmethod
    def validate_inputs(cls, width: int, height: int) -> bool | str:
        return verdict(cls, width=width, height=height)

    @classmethod
    @checked
    def execute(
        cls,
        clip_vision,
        vae,
        start,
        width,
        height,
        fit,
        frames,
        fps,
        motion_bucket_id,
        noise_aug,
        seed,
        loop,
        end=None,
    ) -> io.NodeOutput:
        _check_ends(start, end, frames, loop)
        host.check_encoder(vae)
        host.check_image_tower(clip_vision)

        def encoded(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """Embeddings, latents with noise and latents without it."""
            pictures = fit_pictures(images, width, height, fit).expand(len(start), -1, -1, -1)
            noisy = encode_pictures(vae, pictures, noise_aug, seed)
            return embed_pictures(clip_vision, pictures), noisy, vae.encode(host.as_images(pictures))

        first, numbers = encoded(start), (fps, motion_bucket_id, noise_aug)
        if loop == SHIFT:
            positive, negative, latent = condition_videos(*first[:2], frames, *numbers)
            return io.NodeOutput(host.with_way(positive, host.Shift(skip_of(frames))), negative, latent)
        sampled = frames if loop == NO_LOOP else frames + 1
        positive, negative, latent = condition_videos(*first[:2], sampled, *numbers)
        last = first if end is None else encoded(end)
        ((context, options),) = condition_videos(*last[:2], sampled, *numbers)[0]
        conditions = Conditions(context, options["concat_latent_image"])
        scales = constant(sampled, 1.0)  # of the methods with guidance of their own
        positive = host.with_way(positive, host.Ends(conditions, first[2], last[2], scales))
        if loop == PINNED:
            latent = {**latent, host.CLOSING_FRAME: True}
        return io.NodeOutput(positive, negative, latent)


def _check_ends(start: Tensor, end: Tensor | None, frames: int, loop: str) -> None:
    """Raises ValueError where the pictures, the frames and the loop don't go together."""
    if end is None and loop == NO_LOOP:
        raise ValueError(
            "no picture is connected as end, and loop is none; connect the picture that the clip is to end "
            "on, choose a loop, or take SVD Image to Video."
        )
    if end is not None and loop != NO_LOOP:
        raise ValueError(
            f"loop is {loop}, and end has a picture; a loop ends where it begins: disconnect end, or set "
            f"loop to {NO_LOOP}."
        )
    for images in (start, end):
        if images is not None:
            host.check_images(images)
    if end is not None and len(end) not in (1, len(start)):
        raise ValueError(
            f"end holds {len(end)} pictures, start {len(start)}; give one end for all, or one for each."
        )
    if frames < FEWEST[end is not None]:
        what = "a loop" if end is None else "a clip between two pictures, both of them included,"
        raise ValueError(f"frames is {frames}; {what} has at least {FEWEST[end is not None]}.")


class BetweenGuider(io.ComfyNode):
    """The estimates under both pictures, fused, or of a loop, for core's custom samplers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionBetweenGuider",
            display_name="SVD First and Last Frame Guider",
            category=SAMPLING,
            description="Guides SamplerCustomAdvanced between two pictures, or round a loop.",
            search_aliases=["svd", "guider", "first last frame", "trf", "time reversal", "loop"],
            inputs=[
                io.Model.Input("model", tooltip="From SVD Guidance; without it for mpd, mpd_trf and vibid."),
                io.Conditioning.Input("positive", tooltip="From SVD First and Last Frame."),
                io.Conditioning.Input("negative", tooltip="From SVD First and Last Frame."),
            ],
            outputs=[io.Guider.Output(tooltip="The guider, for SamplerCustomAdvanced.")],
        )

    @classmethod
    @checked
    def execute(cls, model, positive, negative) -> io.NodeOutput:
        host.check_conditioning(model, "positive", positive)
        host.check_conditioning(model, "negative", negative)
        if host.way_of(positive) is None:
            raise ValueError(
                "positive has no end picture and no loop; connect positive of SVD First and Last Frame, or "
                "take core's CFGGuider."
            )
        return io.NodeOutput(host.make_guider(model, positive, negative))


class BetweenSampler(io.ComfyNode):
    """A way between two pictures, for core's custom samplers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionBetweenSampler",
            display_name="SVD First and Last Frame Sampler",
            category=SAMPLING,
            description="Samples between two pictures, with SVD First and Last Frame Guider.",
            search_aliases=["svd", "sampler", "first last frame", "vibid", "mpd", "trf"],
            inputs=[between_input()],
            outputs=[io.Sampler.Output(tooltip="The sampler, for SamplerCustomAdvanced.")],
        )

    @classmethod
    @checked
    def execute(cls, between) -> io.NodeOutput:
        return io.NodeOutput(make_between_sampler(between))
