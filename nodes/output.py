"""Nodes at the end of the graph: frames from latents, and the whole way in one."""

from dataclasses import replace
from fractions import Fraction

import torch
from comfy_api.v0_0_2 import InputImpl, Types, io
from torch import Tensor

from ..clips.first_frame import OFF, led_from
from ..clips.motion.course import Paste
from ..clips.motion_amount import AMOUNTS
from ..clips.noise import seed_of_video
from ..clips.plan import Plan
from ..clips.presets import NAMED, SVD, USUAL_MOTION
from ..clips.recipes import drive
from ..clips.recipes.animate import animate
from ..clips.settings import FIELDS, Settings
from ..svd_model.checkpoint.variants import Variant
from ..svd_model.networks.finite import check_finite
from . import host, latents
from .checks import checked, verdict
from .hold import paste_over
from .inputs import LABELS, own_id, own_or_chosen, seed_input, setting
from .loaders import DECODERS, FRAME_WISE, checkpoint_input

CATEGORY = "stillmotion"
GB = 10**9
OF_CHECKPOINT, BY_MOTION = "the checkpoint's own", "by motion"
FLOAT32 = "float32"
PRECISIONS = {FLOAT32: torch.float32, "bfloat16": torch.bfloat16}

EMPTY_LATENT = (
    "the latent is empty, as SVD Image to Video makes it, and gives grey frames: connect the latent of a "
    "sampler node, such as SVD KSampler."
)
ONE_PICTURE = "for one clip, as of the first picture of an animation, put core's ImageFromBatch before."


def decode_latent(
    vae,
    latent: dict,
    video: int = 0,
    memory_budget: float = 0.0,
    precision: str = FLOAT32,
    frames: int = 0,
    last_frame: Tensor | None = None,
    ring: bool = False,
    first_frame: Tensor | None = None,
    paste: Paste | None = None,
) -> Tensor:
    """IMAGE of a LATENT: each of its videos decoded whole; video is a number from 1, or 0 for all.

    memory_budget is in GB, 0 for the host's free memory; frames are of each video, 0 for the latent's own;
    last_frame, an IMAGE for each video, takes the place of its last frame, as SV3D's orbits end; first_frame
    takes its first one's, and the others follow from it. With ring each video is a loop, whose last frame
    comes before its first. paste: a picture over all frames.
    """
    samples, frames = _videos(latent, frames)
    host.check_decoder(vae)
    videos = samples.shape[0] // frames
    if video > videos:
        raise ValueError(
            f"video is {video}, the latent holds {videos}; give 0 for all of them, or 1 to {videos} for one."
        )
    if video:
        samples = samples[(video - 1) * frames : video * frames]
    pictures = {"first_frame": first_frame, "last_frame": last_frame}
    for name, images in pictures.items():
        if images is not None:
            height, width = (vae.upscale_ratio * side for side in samples.shape[2:])
            images = _of_videos(name, images, videos, width, height)
            pictures[name] = images[video - 1 : video] if video else images
    budget, dtype = round(memory_budget * GB), PRECISIONS[precision]
    images = vae.decode(samples, num_frames=frames, budget=budget, dtype=dtype, ring=ring)
    if pictures["first_frame"] is not None:
        firsts = pictures["first_frame"].movedim(-1, 1) * 2 - 1
        for decoded, picture in zip(images.split(frames), firsts.split(1), strict=True):
            host.put_first_frame(decoded, led_from(picture, frames, ring))
    if pictures["last_frame"] is not None:
        images[frames - 1 :: frames] = pictures["last_frame"].to(images)
    if paste is not None:
        host.lay_over(images, paste)
    return images


def _of_videos(name: str, images: Tensor, videos: int, width: int, height: int) -> Tensor:
    """One picture for each video; raises ValueError for another number of them, or of another size."""
    host.check_images(images)
    check_finite(images, f"in {name}; look at the node that made it")
    if tuple(images.shape[1:]) != (height, width, 3) or images.shape[0] not in (1, videos):
        found = "×".join(map(str, images.shape))
        raise ValueError(
            f"{name} is {found}; {videos} videos of {width}×{height} want a picture for each, or one for "
            f"all, {height}×{width}×3: connect picture of the SVD Image to Video that made the latent."
        )
    return images.expand(videos, -1, -1, -1)


def _videos(latent: dict, frames: int) -> tuple[Tensor, int]:
    """The frames of all videos, and the number of frames of one: the user's, or the latent's own."""
    latent = latents.without_closing_frame(latent)
    samples, own = host.frames_as_batch(latents.samples_of(latent))
    if frames:
        if samples.shape[0] % frames:
            raise ValueError(
                f"frames is {frames}; the latent holds {samples.shape[0]} frames, no whole number of videos "
                f"of {frames}: give what SVD Image to Video had, or 0 for what the latent says."
            )
        return samples, frames
    if own is None:
        remedy = "connect the latent as it came from the sampler, or give as frames how many a video has."
        own = latents.frames_of_video(latent, remedy)
        latents.check_frames_said(latent, own, remedy)
    return samples, own


class Decode(io.ComfyNode):
    """Latents to frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionDecode",
            display_name="SVD Decode",
            category=CATEGORY,
            description="Decodes whole videos, never chunks of frames, which would change the picture.",
            search_aliases=["svd", "vae decode", "temporal decode", "latent to image"],
            inputs=[
                io.Latent.Input("latent", tooltip="The sampled video, from a sampler node."),
                io.Vae.Input("vae", tooltip="From SVD Load Checkpoint, or frame-wise from SVD Load VAE."),
                io.Int.Input(
                    "video",
                    display_name="which video",
                    default=0,
                    min=0,
                    max=4096,
                    optional=True,
                    advanced=True,
                    tooltip="Which video to decode, where the latent holds several: 1 for the first alone, "
                    "and so on; 0 for all.",
                ),
                io.Float.Input(
                    "memory_budget",
                    display_name="memory budget (GB)",
                    default=0.0,
                    min=0.0,
                    max=1024.0,
                    step=0.1,
                    optional=True,
                    advanced=True,
                    tooltip="The most memory to decode with, in GB, besides the weights; 0: what is free. "
                    "The picture does not depend on it.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default=FLOAT32,
                    optional=True,
                    advanced=True,
                    tooltip="Numbers to compute in: float32 as in the reference; bfloat16 halves the memory "
                    "and differs slightly.",
                ),
                own_or_chosen(
                    "num_frames",
                    "frames",
                    tooltip="Frames of each video; 0 is what the latent says. A latent from core's Load "
                    "Latent says none.",
                ),
                io.Image.Input(
                    "last_frame",
                    display_name="last frame",
                    optional=True,
                    tooltip="For SV3D: picture of SVD Image to Video, on which the orbit ends.",
                ),
                setting("ring", optional=True, advanced=True),
                io.Image.Input(
                    "paste",
                    display_name="pasted picture",
                    optional=True,
                    tooltip="With paste_mask: a picture over all frames, as picture of SVD Image to Video.",
                ),
                io.Mask.Input(
                    "paste_mask",
                    display_name="paste mask",
                    optional=True,
                    tooltip="Where the pasted picture shows, white; with freeze of SVD Motion, frozen parts "
                    "are the picture's own.",
                ),
                io.Image.Input(
                    "first_frame",
                    display_name="first frame",
                    optional=True,
                    tooltip="For SVD: picture of SVD Image to Video, to be the first frame itself.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.Image.Output(tooltip="All frames of all videos, in order, or of the one.")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        latent,
        vae,
        video=0,
        memory_budget=0.0,
        precision=FLOAT32,
        frames=0,
        last_frame=None,
        ring=False,
        paste=None,
        paste_mask=None,
        first_frame=None,
    ) -> io.NodeOutput:
        doubts = [] if latents.samples_of(latent).any() else [EMPTY_LATENT]
        host.show_doubts(doubts, own_id(cls))
        options = (video, memory_budget, precision, frames, last_frame, ring, first_frame)
        options += (paste_over(latent, vae, paste, paste_mask),)
        return io.NodeOutput(decode_latent(vae, latent, *options))


def _size_and_steps() -> list:
    return [
        own_or_chosen("width", tooltip="Width in pixels; 0 is the checkpoint's own."),
        own_or_chosen("height", tooltip="Height in pixels; 0 is the checkpoint's own."),
        own_or_chosen(
            "num_frames",
            "frames",
            tooltip=f"Number of frames; 0 is the checkpoint's own, {SVD.num_frames} brings svd's defaults.",
        ),
        own_or_chosen("steps", tooltip="Number of sampling steps; 0 is the checkpoint's own."),
    ]


UNCHOSEN = {"preset": OF_CHECKPOINT, "keep_first": OFF, "motion_amount": BY_MOTION}
"""Choices of SVD Animate that leave a setting to the checkpoint, by its name."""


def _check_choices(variant: Variant, motion: int, **choices: str) -> None:
    """Raises ValueError, in the page's words, for choices that don't go with the checkpoint, or together."""
    for name, value in choices.items():
        field, unchosen, label = FIELDS[name], UNCHOSEN[name], LABELS.get(name, name)
        if value != unchosen and field.only and variant.conditioning not in field.only:
            raise ValueError(
                f"{label} is {value!r}, which this checkpoint ({variant.name}) does not take; set {label} to "
                f"{unchosen!r}."
            )
    amount, label = choices["motion_amount"], LABELS["motion_amount"]
    if amount != BY_MOTION and motion != USUAL_MOTION:
        raise ValueError(
            f"motion is {motion} and {label} is {amount!r}; set motion back to {USUAL_MOTION}, or {label} to "
            f"{BY_MOTION!r}."
        )


class Animate(io.ComfyNode):
    """A picture to a video, with the checkpoint's defaults."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionAnimate",
            display_name="Image to Video (SVD Animate)",  # the page ranks by the name alone, its start first
            category=CATEGORY,
            description="The whole way in one node, for a first try; everything else follows the checkpoint.",
            search_aliases=["svd", "stable video diffusion", "img2vid", "image to video", "animate"],
            inputs=[
                checkpoint_input(),
                io.Image.Input(
                    "image", tooltip="The picture to animate; each picture of a batch gives a video."
                ),
                setting("motion_bucket_id", "motion", default=USUAL_MOTION),
                seed_input(),
                *_size_and_steps(),
                io.Combo.Input(
                    "decoder",
                    options=DECODERS,
                    default=DECODERS[0],
                    optional=True,
                    advanced=True,
                    tooltip="How frames are decoded: frame-wise takes each on its own, which is quicker "
                    "and flickers more.",
                ),
                setting(
                    "preset",
                    options=[OF_CHECKPOINT, *NAMED],
                    default=OF_CHECKPOINT,
                    optional=True,
                    tooltip="For quality or speed, or for a distilled checkpoint, whose file does not tell.",
                ),
                setting("keep_first", default=OFF, optional=True, advanced=True),
                setting(
                    "motion_amount",
                    options=[BY_MOTION, *AMOUNTS],
                    default=BY_MOTION,
                    optional=True,
                    tooltip="How much moves, in a word, in place of motion: the help has a table.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Image.Output(tooltip="All frames of the video, in order."),
                io.Video.Output(tooltip="The video, for core's Save Video."),
            ],
        )

    @classmethod
    def validate_inputs(cls, width: int = 0, height: int = 0) -> bool | str:
        return verdict(cls, width=width, height=height)

    @classmethod
    @checked
    def execute(
        cls,
        checkpoint,
        image,
        motion,
        seed,
        width=0,
        height=0,
        frames=0,
        steps=0,
        decoder=DECODERS[0],
        preset=OF_CHECKPOINT,
        keep_first=OFF,
        motion_amount=BY_MOTION,
    ) -> io.NodeOutput:
        opened = host.open_checkpoint(checkpoint)
        variant = opened.variant
        if variant.orbit and motion != USUAL_MOTION:
            raise ValueError(host.motion_without_use("motion", motion, variant))
        _check_choices(variant, motion, preset=preset, keep_first=keep_first, motion_amount=motion_amount)
        host.check_images(image)
        check_finite(image, "in the image; look at the node that made it")
        doubts = [f"{len(image)} pictures, so {len(image)} clips one after the other: {ONE_PICTURE}"]
        host.show_doubts(doubts if len(image) > 1 else [], own_id(cls))
        settings = Settings(
            width=width or None,
            height=height or None,
            num_frames=frames or None,
            steps=steps or None,
            motion_bucket_id=None if motion == USUAL_MOTION else motion,
            preset=None if preset == OF_CHECKPOINT else preset,
            frame_wise_decode=decoder == FRAME_WISE,
            keep_first=None if keep_first == OFF else keep_first,
            motion_amount=None if motion_amount == BY_MOTION else motion_amount,
        )
        recipes = []
        for number, pixels in enumerate(image):
            plan = Plan.of(replace(settings, seed=seed_of_video(seed, number)), variant)
            recipes.append(animate(plan, plan.canvas(pixels.movedim(-1, 0))))
        performer = host.Performer(opened, settings.frame_wise_decode)
        images = torch.cat(drive(recipes, performer.perform))
        host.show_frames(images[: plan.settings.num_frames], plan.settings.fps)
        fps = Fraction(plan.settings.fps)
        components = Types.VideoComponents(images=images, audio=None, frame_rate=fps)
        return io.NodeOutput(images, InputImpl.VideoFromComponents(components))
