"""Nodes that tell the model of the picture and of the camera."""

import math

import torch
from comfy_api.v0_0_2 import io
from torch import Tensor
from torch.nn import functional

from ..clips.presets import SVD_XT, USUAL_ELEVATION, USUAL_MOTION, each
from ..svd_model.networks.conditioning import orbit_azimuths
from ..svd_model.networks.finite import check_finite
from ..svd_model.networks.vision import preprocess
from . import host
from .checks import checked, verdict
from .inputs import setting

CATEGORY = "stillmotion/conditioning"


def fit_images(images: Tensor, width: int, height: int, fit: str) -> Tensor:
    """IMAGE (B, H, W, 3 or 4) in [0, 1] -> (B, 3, height, width) in [0, 1]; transparency becomes white."""
    host.check_images(images)
    check_finite(images, "in the image; look at the node that made it")
    images = images.movedim(-1, 1).float()
    if images.shape[1] == 4:
        alpha = images[:, 3:]
        images = images[:, :3] * alpha + (1 - alpha)
    if fit == "crop":
        return host.resize(images, width, height, crop=True)
    if fit == "stretch":
        return host.resize(images, width, height)
    scale = min(width / images.shape[3], height / images.shape[2])
    inner = max(1, round(images.shape[3] * scale)), max(1, round(images.shape[2] * scale))
    images = host.resize(images, *inner)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    return functional.pad(images, (left, width - inner[0] - left, top, height - inner[1] - top))


def noisy(images: Tensor, noise_aug: float, seed: int) -> Tensor:
    """Pictures in [0, 1] with seeded noise of strength noise_aug, which counts in the range of [−1, 1]."""
    generator = torch.Generator("cpu").manual_seed(seed ^ host.PICTURE_NOISE)
    noise = torch.randn(images.shape, generator=generator, dtype=torch.float32, device="cpu")
    return images + noise_aug / 2 * noise.to(images)


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
                setting("width", default=SVD_XT.width),
                setting("height", default=SVD_XT.height),
                setting("fit", tooltip="How the picture gets that size."),
                setting(
                    "num_frames",
                    "frames",
                    default=SVD_XT.num_frames,
                    tooltip=f"Frames a video: {each('num_frames')}.",
                ),
                setting("fps", tooltip="Frames a second."),
                setting("motion_bucket_id", default=USUAL_MOTION),
                setting(
                    "noise_aug",
                    default=SVD_XT.noise_aug,
                    advanced=True,
                    tooltip="Noise on the picture: more gives the model a freer hand. SV3D wants 0.",
                ),
                setting("seed", control_after_generate=True, advanced=True, tooltip="Of that noise."),
                io.ClipVisionOutput.Input(
                    "clip_vision_output",
                    optional=True,
                    tooltip="Replaces the picture's own CLIP embedding, from core's CLIP Vision Encode.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("positive", tooltip="With the picture."),
                io.Conditioning.Output("negative", tooltip="Without it, for guidance."),
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
    ) -> io.NodeOutput:
        host.check_encoder(vae)
        if clip_vision_output is None:
            host.check_image_tower(clip_vision)
        pictures = fit_images(image, width, height, fit)
        if clip_vision_output is None:
            pixels = preprocess(pictures * 2 - 1, clip_vision.image_size)
            embedding = host.embed_image(clip_vision, pixels)
        else:
            embedding = clip_vision_output.image_embeds[:, None].float()
            check_finite(embedding, "in clip_vision_output; look at the node that made it")
        latent_image = vae.encode(noisy(pictures, noise_aug, seed).movedim(1, -1))
        videos = pictures.shape[0]
        if embedding.shape[0] not in (1, videos):
            raise ValueError(
                f"clip_vision_output holds {embedding.shape[0]} embeddings for {videos} pictures."
            )
        if videos > 1:  # one row for each frame: the host repeats a single row by itself
            embedding = embedding.expand(videos, -1, -1).repeat_interleave(frames, dim=0)
            latent_image = latent_image.repeat_interleave(frames, dim=0)
        options = {
            "fps": fps,
            "motion_bucket_id": motion_bucket_id,
            "augmentation_level": noise_aug,
            host.NUM_FRAMES: frames,
        }
        positive = [[embedding, {**options, "concat_latent_image": latent_image}]]
        without = {**options, "concat_latent_image": torch.zeros_like(latent_image)}
        negative = [[torch.zeros_like(embedding), without]]
        size = (videos * frames, latent_image.shape[1], *latent_image.shape[2:])
        samples = torch.zeros(size, dtype=torch.float32, device="cpu")
        return io.NodeOutput(positive, negative, {"samples": samples, host.NUM_FRAMES: frames})


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
                setting("elevation", default=USUAL_ELEVATION, tooltip="Of the camera, in degrees."),
                setting(
                    "azimuths",
                    advanced=True,
                    tooltip="Degrees for each frame, as in 90, 180, 270, 0. Empty: equal steps once around.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("positive", tooltip="With the camera."),
                io.Conditioning.Output("negative", tooltip="With the camera."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, positive, negative, elevation, azimuths) -> io.NodeOutput:
        return io.NodeOutput(*(_with_camera(given, elevation, azimuths) for given in (positive, negative)))


def _with_camera(given: list, elevation: float, azimuths: str) -> list:
    result = []
    for embedding, options in given:
        frames = options.get(host.NUM_FRAMES, 21)
        angles = numbers(azimuths, "azimuths") or orbit_azimuths(frames)
        if len(angles) != frames:
            raise ValueError(f"azimuths has {len(angles)} angles; give one for each of the {frames} frames.")
        camera = {"elevation": [elevation] * frames, "azimuth": angles, host.CAMERA: True}
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
