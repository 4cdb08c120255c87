"""diffusers' StableVideoDiffusionPipeline."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import StableVideoDiffusionPipeline
from diffusers.utils import logging
from PIL import Image
from scale import AT_STEP, FPS, MAX_GUIDANCE, MIN_GUIDANCE, MOTION_BUCKET_ID, SCHEDULE_STEPS, Inputs, Scale
from torch import Tensor, nn
from weights import of_file

logging.disable_progress_bar()
PARTS = {"unet": "unet", "vision": "image_encoder", "encoder": "vae", "decoder": "vae"}


class Diffusers:
    """Diffusers' pipeline, from its folder or over the tensors of our file."""

    name = "diffusers"

    def __init__(self, pipeline: StableVideoDiffusionPipeline, scale: Scale, name: str = name):
        self.pipeline, self.scale, self.name = pipeline, scale, name
        self.pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def load(cls, folder: Path, scale: Scale, parts: tuple[str, ...] = tuple(PARTS)) -> "Diffusers":
        """Loads the named parts from the folder, like a user of diffusers."""
        wanted = {PARTS[part] for part in parts}
        without = dict.fromkeys(set(PARTS.values()) - wanted)
        result = StableVideoDiffusionPipeline.from_pretrained(
            folder, dtype=scale.torch_dtype, local_files_only=True, **without
        )
        return cls(result.to(scale.device), scale)

    @classmethod
    def of_checkpoint(cls, checkpoint, scale: Scale) -> "Diffusers":
        """Builds the pipeline over a checkpoint; shares its tensors if device and dtype are the file's."""
        from support import diffusers_models

        networks = (checkpoint.unet, checkpoint.encoder, checkpoint.decoder, checkpoint.vision)
        result = diffusers_models.pipeline(*(of_file(network) for network in networks))
        return cls(result.to(scale.device, scale.torch_dtype), scale)

    def resized(self, scale: Scale) -> "Diffusers":
        """This peer with a clip of another size."""
        return Diffusers(self.pipeline, scale, self.name)

    def compiled(self) -> "Diffusers":
        """This peer with UNet and decoder under torch.compile."""
        parts = dict(self.pipeline.components)
        parts["unet"] = torch.compile(parts["unet"])
        parts["vae"] = copy.copy(parts["vae"])  # a shallow copy: the networks are shared
        parts["vae"]._modules = {**parts["vae"]._modules, "decoder": torch.compile(parts["vae"].decoder)}
        result = StableVideoDiffusionPipeline(**parts)
        return Diffusers(result, self.scale, f"{self.name}, compiled")

    def network(self, part: str) -> nn.Module:
        """The network of a part."""
        return getattr(self.pipeline, PARTS[part])

    @torch.no_grad()
    def condition(self, picture: Image.Image) -> tuple[Tensor, Tensor]:
        """Computes context and concat of a picture, by the pipeline's methods."""
        pipe, size = self.pipeline, {"height": self.scale.height, "width": self.scale.width}
        context = pipe._encode_image(picture, self.scale.device, 1, do_classifier_free_guidance=False)
        image = pipe.video_processor.preprocess(picture, **size)
        return context, pipe._encode_vae_image(image, self.scale.device, 1, do_classifier_free_guidance=False)

    def unet_step(self, inputs: Inputs) -> Callable[[], Tensor]:
        """One iteration of the pipeline's loop, up to the scheduler's estimate D."""
        pipe, device, dtype = self.pipeline, self.scale.device, self.scale.torch_dtype
        scheduler = pipe.scheduler
        scheduler.set_timesteps(SCHEDULE_STEPS, device=device)
        time = scheduler.timesteps[AT_STEP]
        frames = inputs.x.shape[0]
        context = torch.cat([torch.zeros_like(inputs.context), inputs.context]).to(device, dtype)
        concat = torch.stack([torch.zeros_like(inputs.concat), inputs.concat])  # (2, 1, 4, h, w)
        concat = concat.to(device, dtype).repeat(1, frames, 1, 1, 1)
        numbers = torch.tensor([[FPS - 1, MOTION_BUCKET_ID, 0.0]] * 2, dtype=dtype, device=device)
        scales = torch.linspace(MIN_GUIDANCE, MAX_GUIDANCE, frames).view(1, -1, 1, 1, 1).to(device, dtype)
        latents = inputs.x.to(device, dtype)[None]

        @torch.no_grad()
        def step() -> Tensor:
            scheduler._step_index = AT_STEP
            both = scheduler.scale_model_input(torch.cat([latents] * 2), time)
            both = torch.cat([both, concat], dim=2)
            predicted = pipe.unet(
                both, time, encoder_hidden_states=context, added_time_ids=numbers, return_dict=False
            )[0]
            unconditional, conditional = predicted.chunk(2)
            predicted = unconditional + scales * (conditional - unconditional)
            return scheduler.step(predicted, time, latents).pred_original_sample[0].float().cpu()

        return step

    def decode(self, inputs: Inputs) -> Callable[[], Tensor]:
        """Latents to frames, (T, 3, H, W) near [−1, 1], all at once: smaller chunks change the picture."""
        latents = inputs.latents.to(self.scale.device, self.scale.torch_dtype)[None]
        frames = latents.shape[1]

        @torch.no_grad()
        def decode() -> Tensor:
            result = self.pipeline.decode_latents(latents, frames, decode_chunk_size=frames)
            return result[0].transpose(0, 1).cpu()  # (3, T, H, W) -> (T, 3, H, W)

        return decode

    def embed(self, inputs: Inputs) -> Callable[[], Tensor]:
        """CLIP's embedding of a preprocessed picture."""
        pixels = inputs.pixels.to(self.scale.device, self.scale.torch_dtype)

        @torch.no_grad()
        def embed() -> Tensor:
            return self.pipeline.image_encoder(pixels).image_embeds.float().cpu()

        return embed

    def clip(self, inputs: Inputs) -> Callable[[], Tensor]:
        """Picture to frames, (T, H, W, 3) in [0, 1]."""
        scale = self.scale
        options = {"height": scale.height, "width": scale.width, "num_frames": scale.frames}
        options |= {"num_inference_steps": scale.clip_steps, "fps": FPS, "motion_bucket_id": MOTION_BUCKET_ID}
        options |= {"min_guidance_scale": MIN_GUIDANCE, "max_guidance_scale": MAX_GUIDANCE}
        options |= {"noise_aug_strength": 0.0, "output_type": "np"}
        latents = inputs.noise.to(scale.device, scale.torch_dtype)[None]

        def clip() -> Tensor:
            result = self.pipeline(inputs.picture, latents=latents, **options).frames[0]
            return torch.from_numpy(result)

        return clip
