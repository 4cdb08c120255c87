"""Stillmotion's headless pipeline."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from scale import AT_STEP, FPS, MAX_GUIDANCE, MIN_GUIDANCE, MOTION_BUCKET_ID, SCHEDULE_STEPS, Inputs, Scale
from torch import Tensor, nn

from stillmotion.clips import conditions
from stillmotion.clips.conditions import Conditions
from stillmotion.clips.settings import Settings
from stillmotion.headless.pipeline import Pipeline


def make_settings(scale: Scale, **changes) -> Settings:
    """Settings of the clip that all peers compute."""
    values = {"num_frames": scale.frames, "width": scale.width, "height": scale.height}
    values |= {"fps": FPS, "motion_bucket_id": MOTION_BUCKET_ID, "noise_aug": 0.0, "seed": scale.seed}
    values |= {"min_guidance": MIN_GUIDANCE, "max_guidance": MAX_GUIDANCE, "steps": scale.clip_steps}
    return Settings(**values | changes)


class Ours:
    """Stillmotion's pipeline over the single file."""

    name = "Stillmotion"

    def __init__(self, pipeline: Pipeline, scale: Scale, name: str = name):
        self.pipeline, self.scale, self.name = pipeline, scale, name
        self.checkpoint = pipeline.checkpoint
        self.settings = make_settings(scale).complete(self.checkpoint.variant)

    @classmethod
    def load(cls, path: Path, scale: Scale, parts: tuple[str, ...] = (), **options) -> "Ours":
        """Opens the file and loads the named networks: "unet", "vision", "encoder", "decoder"."""
        options = {"device": scale.device, "dtype": scale.torch_dtype, **options}
        options.setdefault("decode_dtype", scale.torch_dtype)
        ours = cls(Pipeline.open(path, **options), scale)
        for part in parts:
            ours.network(part)
        return ours

    def resized(self, scale: Scale) -> "Ours":
        """This peer with a clip of another size."""
        return Ours(self.pipeline, scale, self.name)

    def network(self, part: str) -> nn.Module:
        """The network of a part, loaded on first use."""
        return getattr(self.pipeline, part)

    def condition(self, picture: Image.Image) -> tuple[Tensor, Tensor]:
        """Computes context and concat of a picture."""
        prepared = self.pipeline.prepare(picture, self.settings)
        conditions = self.pipeline.encode(prepared, self.settings)
        return conditions.context, conditions.concat

    def unet_step(self, inputs: Inputs) -> Callable[[], Tensor]:
        """One guided evaluation of D."""
        device = self.pipeline.device
        settings = replace(self.settings, steps=SCHEDULE_STEPS)
        vector = conditions.vector(
            self.checkpoint.variant, self.scale.frames, 0.0, fps=FPS, motion_bucket_id=MOTION_BUCKET_ID
        )
        parts = (tensor.to(device) for tensor in (inputs.context, inputs.concat, vector))
        with torch.no_grad():
            denoise = self.pipeline.denoiser(Conditions(*parts), settings)
        # From the schedule of these settings, since constants may have been computed for its sigmas.
        sigma = settings.sigmas()[AT_STEP].to(device)
        torch.testing.assert_close(sigma.cpu(), inputs.sigma, rtol=1e-5, atol=0)
        x = inputs.x.to(device)

        @torch.no_grad()
        def step() -> Tensor:
            return denoise(x, sigma).float().cpu()

        return step

    def decode(self, inputs: Inputs) -> Callable[[], Tensor]:
        """Latents to frames, (T, 3, H, W) near [−1, 1]."""
        return lambda: self.pipeline.decode(inputs.latents)

    def embed(self, inputs: Inputs) -> Callable[[], Tensor]:
        """CLIP's embedding of a preprocessed picture."""
        pixels = inputs.pixels.to(self.pipeline.device, self.pipeline.dtype)

        @torch.no_grad()
        def embed() -> Tensor:
            return self.network("vision")(pixels).float().cpu()

        return embed

    def clip(self, inputs: Inputs) -> Callable[[], Tensor]:
        """Picture to frames, (T, H, W, 3) in [0, 1]."""

        def clip() -> Tensor:
            result = self.pipeline.animate(inputs.picture, self.settings, noise=inputs.noise)
            return torch.from_numpy(result.frames).float() / 255

        return clip


def unet_on_meta(unet: nn.Module, z: Tensor) -> Callable[[], object]:
    """One guided step for the counter of FLOPs: the UNet on both branches, on meta."""
    frames = z.shape[0]
    x = torch.cat([z, z], dim=1)  # noisy latents and the picture's latent
    context = torch.empty(frames, 1, unet.params.context_dim, device=z.device)
    vector = torch.empty(frames, unet.params.vector_dim, device=z.device)
    times = torch.empty(frames, device=z.device)
    return lambda: [unet(x, times, context, vector, frames) for _ in range(2)]
