"""Nodes that tell the model of the picture and of the camera."""

import json
import math

import torch
from comfy_api.v0_0_2 import io
from torch import Tensor

from ..clips.camera import TRACKS, listed_track, named_track
from ..clips.conditions import Conditions, each_frame, orbit_azimuths
from ..clips.fields import shortened
from ..clips.noise import noisy_picture, seed_of_video
from ..clips.picture import to_canvas
from ..clips.presets import MOTIONCTRL, SVD_XT, USUAL_ELEVATION, USUAL_FPS, USUAL_MOTION
from ..clips.settings import FIELDS
from ..clips.values import plain
from ..svd_model.networks.finite import check_finite
from ..svd_model.networks.vision import preprocess
from . import host
from .checks import checked, verdict
from .inputs import setting

CATEGORY = "stillmotion/conditioning"
LIST = "list"
LONGEST_LIST = 2**20


def fit_pictures(images: Tensor, width: int, height: int, fit: str, cut_out: bool = False) -> Tensor:
    """IMAGE (B, H, W, 3 or 4) in [0, 1] -> (B, 3, height, width) in [−1, 1]; transparency becomes white."""
    host.check_images(images)
    check_finite(images, "in the image; look at the node that made it")
    return torch.cat([to_canvas(image.movedim(-1, 0), width, height, fit, cut_out) for image in images])


def embed_pictures(clip_vision, pictures: Tensor) -> Tensor:
    """CLIP embeddings of pictures, (B, 1, context_dim)."""
    return host.embed_image(clip_vision, preprocess(pictures, clip_vision.image_size))


def encode_pictures(vae, pictures: Tensor, noise_aug: float, seed: int) -> Tensor:
    """Latents of noisy pictures, (B, 4, h, w); the noise of each is of its video's seed."""
    noisy = [
        noisy_picture(picture, noise_aug, seed_of_video(seed, video))
        for video, picture in enumerate(pictures.split(1))
    ]
    return vae.encode(host.as_images(torch.cat(noisy)))


def condition_videos(
    embedding: Tensor, latent_image: Tensor, frames: int, fps: float, motion_bucket_id: int, noise_aug: float
) -> tuple[list, list, dict]:
    """Positive and negative CONDITIONING and the empty LATENT of a video for each picture."""
    videos = latent_image.shape[0]
    samples = torch.zeros(videos * frames, *latent_image.shape[1:], dtype=torch.float32, device="cpu")
    if videos > 1:  # one row for each frame: the host repeats a single row by itself
        embedding = embedding.expand(videos, -1, -1).repeat_interleave(frames, dim=0)
        latent_image = latent_image.repeat_interleave(frames, dim=0)
    options = {
        "fps": fps,
        "motion_bucket_id": motion_bucket_id,
        "augmentation_level": noise_aug,
        host.NUM_FRAMES: frames,
    }
    conditions = Conditions(embedding, latent_image)
    positive, negative = (
        host.conditioning_of(branch, options) for branch in (conditions, conditions.unconditional())
    )
    return positive, negative, {"samples": samples, host.NUM_FRAMES: frames}


def clip_inputs() -> list:
    """The size of clips, and the numbers of their pictures."""
    return [
        setting("width", default=SVD_XT.width),
        setting("height", default=SVD_XT.height),
        setting("fit"),
        setting("num_frames", "frames", default=SVD_XT.num_frames),
        setting(
            "fps", default=USUAL_FPS, tooltip=f"Frames a second, told to the model. Usual: {USUAL_FPS:g}."
        ),
        setting("motion_bucket_id", default=USUAL_MOTION),
        setting("noise_aug", default=SVD_XT.noise_aug, round=False, advanced=True),
        setting(
            "seed",
            control_after_generate=True,
            advanced=True,
            tooltip="The seed of the noise on the picture.",
        ),
    ]


class ImageToVideo(io.ComfyNode):
    """A picture, or several, as conditioning and as empty latents of its video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionImageToVideo",
            display_name="SVD Image to Video",
            category=CATEGORY,
            description="Prepares a picture for animation; several in the batch give several videos.",
            search_aliases=["svd", "stable video diffusion", "img2vid", "image to video", "conditioning"],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="From SVD Load Checkpoint."),
                io.Vae.Input(
                    "vae", tooltip="From SVD Load Checkpoint; its encoder makes the first frame's latent."
                ),
                io.Image.Input(
                    "image", tooltip="The picture to animate; each picture of a batch gives a video."
                ),
                *clip_inputs(),
                io.ClipVisionOutput.Input(
                    "clip_vision_output",
                    optional=True,
                    tooltip="Replaces the picture's own CLIP embedding, from core's CLIP Vision Encode.",
                ),
                io.Boolean.Input(
                    "cut_out",
                    display_name="cut out the object",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="For SV3D: what is not transparent goes to the middle, on white.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "positive", tooltip="Conditions with the picture, for a sampler node."
                ),
                io.Conditioning.Output(
                    "negative", tooltip="Conditions without the picture, which guidance leads away from."
                ),
                io.Latent.Output("latent", tooltip="Empty latents of all frames of all videos."),
                io.Image.Output("picture", tooltip="The picture at that size; an orbit's last frame."),
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
        image,
        width,
        height,
        fit,
        frames,
        fps,
        motion_bucket_id,
        noise_aug,
        seed,
        clip_vision_output=None,
        cut_out=False,
    ) -> io.NodeOutput:
        host.check_encoder(vae)
        if clip_vision_output is None:
            host.check_image_tower(clip_vision)
        pictures = fit_pictures(image, width, height, fit, cut_out)
        if clip_vision_output is None:
            embedding = embed_pictures(clip_vision, pictures)
        else:
            embedding = clip_vision_output.image_embeds[:, None].float()
            check_finite(embedding, "in clip_vision_output; look at the node that made it")
        if embedding.shape[0] not in (1, len(pictures)):
            raise ValueError(
                f"clip_vision_output holds {embedding.shape[0]} embeddings for {len(pictures)} pictures."
            )
        latent_image = encode_pictures(vae, pictures, noise_aug, seed)
        conditioned = condition_videos(embedding, latent_image, frames, fps, motion_bucket_id, noise_aug)
        return io.NodeOutput(*conditioned, host.as_images(pictures))


class Orbit(io.ComfyNode):
    """The camera of an SV3D video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionOrbit",
            display_name="SVD Orbit (SV3D)",
            category=CATEGORY,
            description="Sets the camera of sv3d_p: it circles the object once and ends on the picture.",
            search_aliases=["sv3d", "orbit", "camera", "turntable", "3d", "azimuth", "elevation"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="From SVD Image to Video."),
                io.Conditioning.Input("negative", tooltip="From SVD Image to Video."),
                setting("elevation", default=USUAL_ELEVATION),
                setting(
                    "azimuths",
                    advanced=True,
                    tooltip="Where the camera stands in each frame, in degrees around the object, as in 90, "
                    "180, 270, 0. Empty: equal steps once around.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("positive", tooltip="Conditions with the camera, for a sampler node."),
                io.Conditioning.Output("negative", tooltip="Conditions with the camera, for a sampler node."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, positive, negative, elevation, azimuths) -> io.NodeOutput:
        return io.NodeOutput(*(_with_camera(branch, elevation, azimuths) for branch in (positive, negative)))


class Camera(io.ComfyNode):
    """The camera of a MotionCtrl video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="StillmotionCamera",
            display_name="SVD Camera (MotionCtrl)",
            category=CATEGORY,
            description="Moves the camera of MotionCtrl-SVD, for any sampler node.",
            search_aliases=["motionctrl", "camera", "pan", "zoom", "roll", "orbit", "pose", "trajectory"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="From SVD Image to Video."),
                io.Conditioning.Input("negative", tooltip="From SVD Image to Video."),
                setting(
                    "camera",
                    options=[*TRACKS, LIST],
                    default="zoom_in",
                    tooltip="How the camera moves; list takes the poses below. static does not hold it "
                    "still.",
                ),
                setting("camera_speed", "speed", default=1.0),
                io.String.Input(
                    "poses",
                    default="",
                    optional=True,
                    advanced=True,
                    tooltip="For the camera list: 12 numbers for each frame, as JSON [[1, 0, 0, 0, 0, 1, "
                    "…], …].",
                ),
            ],
            outputs=[
                io.Conditioning.Output("positive", tooltip="Conditions with the camera, for a sampler node."),
                io.Conditioning.Output("negative", tooltip="Conditions with the camera, for a sampler node."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, positive, negative, camera, speed, poses="") -> io.NodeOutput:
        listed = poses_of(poses) if camera == LIST else None
        return io.NodeOutput(*(_with_track(branch, camera, listed, speed) for branch in (positive, negative)))


def _with_track(conditioning: list, name: str, poses: tuple | None, speed: float) -> list:
    result = []
    for embedding, options in conditioning:
        frames = options.get(host.NUM_FRAMES, MOTIONCTRL.num_frames)
        track = named_track(name, frames, speed) if poses is None else listed_track(poses, frames, speed)
        result.append([embedding, {**options, host.TRACK: track}])
    return result


def poses_of(text: str) -> tuple:
    """The poses in JSON text; raises ValueError for anything else."""
    try:
        poses = plain(json.loads(text)) if len(text) <= LONGEST_LIST else None
    except (ValueError, RecursionError):
        poses = None
    if not isinstance(poses, tuple):
        raise ValueError(
            f"poses is {shortened(text)}; for list it must be JSON of at most {LONGEST_LIST:,} characters, "
            "as in [[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, -0.1], …]."
        )
    for mistake in FIELDS["camera"].mistakes(poses):
        raise ValueError(mistake)
    return poses


def _with_camera(conditioning: list, elevation: float, azimuths: str) -> list:
    result = []
    for embedding, options in conditioning:
        frames = options.get(host.NUM_FRAMES, 21)
        angles = each_frame("azimuths", numbers(azimuths, "azimuths") or orbit_azimuths(frames), frames)
        camera = {"elevation": [elevation] * frames, "azimuth": list(angles), host.CAMERA: True}
        result.append([embedding, {**options, **camera}])
    return result


def numbers(text: str, name: str) -> list[float]:
    """The numbers of a list such as "1, 2.5, 3"; raises ValueError naming the input."""
    try:
        found = [float(part) for part in text.replace("\n", ",").split(",") if part.strip()]
    except ValueError:
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise ValueError(f"{name} is {text!r}; it must be numbers with commas between, as in 1, 2.5, 3.")
    return found
