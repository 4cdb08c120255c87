"""ComfyUI's own SVD, and our nodes in ComfyUI, without its server; for the host's Python only."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from scale import FPS, MAX_GUIDANCE, MIN_GUIDANCE, MOTION_BUCKET_ID, Inputs, Scale
from torch import Tensor, nn

NUMBERS = {"motion_bucket_id": MOTION_BUCKET_ID, "fps": FPS, "augmentation_level": 0.0}


def start(host: Path, scale: Scale) -> None:
    """Puts the host on the path, with main.py's switches for this device and dtype."""
    sys.path.insert(0, str(host))
    on_gpu = {
        "float32": ["--force-fp32"],
        "float16": ["--fp16-unet"],
        "bfloat16": ["--bf16-unet", "--bf16-vae"],
    }
    sys.argv = ["main.py", *(["--cpu"] if scale.device == "cpu" else on_gpu[scale.dtype])]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args


class Core:
    """Outputs of a loader node, MODEL, CLIP_VISION and VAE, run by core's nodes."""

    name = "ComfyUI core"

    def __init__(self, model, tower, vae, scale: Scale, name: str = name):
        self.model, self.tower, self.vae, self.scale, self.name = model, tower, vae, scale, name

    @classmethod
    def load(cls, path: Path, scale: Scale, parts: tuple[str, ...] = ("unet", "vision", "vae")) -> "Core":
        """Loads a file like ImageOnlyCheckpointLoader, but only the named parts."""
        import comfy.sd

        model, _, vae, tower = comfy.sd.load_checkpoint_guess_config(
            str(path),
            output_vae=bool({"vae", "decoder", "encoder"} & set(parts)),
            output_clip=False,
            output_clipvision="vision" in parts,
            output_model="unet" in parts,
        )
        return cls(model, tower, vae, scale)

    @classmethod
    def load_nodes(cls, path: Path, scale: Scale) -> "Core":
        """Loads a file like our SVD Load Checkpoint."""
        from stillmotion.nodes import host
        from stillmotion.svd_model.checkpoint import Checkpoint

        opened = Checkpoint.open(path)
        parts = (host.load_model(opened), host.load_image_tower(opened), host.load_vae(opened))
        return cls(*parts, scale, "Stillmotion's nodes")

    def share_weights(self, checkpoint) -> None:
        """Replaces the weights of the UNet, the largest network, by the file's tensors, to save a copy."""
        network = checkpoint.unet
        weights = network.tensors()
        self.model.model.diffusion_model.load_state_dict(weights, strict=True, assign=True)

    def network(self, part: str) -> nn.Module:
        """The network of a part."""
        if part == "unet":
            return self.model.model.diffusion_model
        return self.tower.model if part == "vision" else self.vae.first_stage_model

    @torch.inference_mode()
    def condition(self, picture: Image.Image) -> tuple[Tensor, Tensor]:
        """Computes context and concat of a picture by core's conditioning node."""
        positive, _, _ = self._conditioning(picture)
        context, options = positive[0]
        return context, options["concat_latent_image"]

    def _conditioning(self, picture: Image.Image) -> tuple:
        from comfy_extras.nodes_video_model import SVD_img2vid_Conditioning

        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        image = pixels.view(1, picture.height, picture.width, 3).float() / 255
        size = (self.scale.width, self.scale.height, self.scale.frames)
        return SVD_img2vid_Conditioning().encode(self.tower, image, self.vae, *size, **NUMBERS)

    def _guided(self):
        from comfy_extras.nodes_video_model import VideoLinearCFGGuidance

        return VideoLinearCFGGuidance().patch(self.model, MIN_GUIDANCE)[0]

    def unet_step(self, inputs: Inputs) -> Callable[[], Tensor]:
        """A sampler's evaluation at one sigma: both branches, through core's CFGGuider."""
        import comfy.samplers
        from comfy import sampler_helpers

        numbers = {**NUMBERS, "concat_latent_image": inputs.concat}
        without = {**numbers, "concat_latent_image": torch.zeros_like(inputs.concat)}
        guider = comfy.samplers.CFGGuider(self._guided())
        guider.set_conds([[inputs.context, numbers]], [[torch.zeros_like(inputs.context), without]])
        guider.set_cfg(MAX_GUIDANCE)
        conds = {name: [dict(cond) for cond in group] for name, group in guider.original_conds.items()}
        device = self.model.load_device
        with torch.inference_mode():
            guider.inner_model, conds, _ = sampler_helpers.prepare_sampling(
                guider.model_patcher, inputs.x.shape, conds, guider.model_options
            )
            comfy.samplers.cast_to_load_options(
                guider.model_options, device=device, dtype=self.model.model_dtype()
            )
            guider.model_patcher.pre_run()
            x = inputs.x.to(device)
            guider.conds = comfy.samplers.process_conds(guider.inner_model, x, conds, device)
            sigma = inputs.sigma.to(device).expand(x.shape[0])

        @torch.inference_mode()
        def step() -> Tensor:
            return guider(x, sigma, model_options=guider.model_options, seed=0).float().cpu()

        return step

    def decode(self, inputs: Inputs) -> Callable[[], Tensor]:
        """Latents to frames, (T, 3, H, W), which core clamps to [−1, 1]."""
        import comfy.model_management

        latents = inputs.latents / 0.18215
        comfy.model_management.load_models_gpu([self.vae.patcher])

        @torch.inference_mode()
        def decode() -> Tensor:
            return self.vae.decode(latents).movedim(-1, 1).float().cpu() * 2 - 1

        return decode

    def embed(self, inputs: Inputs) -> Callable[[], Tensor]:
        """CLIP's embedding of a preprocessed picture."""
        import comfy.model_management

        comfy.model_management.load_models_gpu([self.tower.patcher])
        pixels = inputs.pixels.to(self.tower.load_device)

        @torch.inference_mode()
        def embed() -> Tensor:
            return self.tower.model(pixel_values=pixels, intermediate_output=-2)[2].float().cpu()

        return embed

    def clip(self, inputs: Inputs) -> Callable[[], Tensor]:
        """Picture to frames, (T, H, W, 3) in [0, 1], through the nodes of core's template."""
        import comfy.sample

        @torch.inference_mode()
        def clip() -> Tensor:
            positive, negative, latent = self._conditioning(inputs.picture)
            samples = comfy.sample.sample(
                self._guided(),
                inputs.noise,
                self.scale.clip_steps,
                MAX_GUIDANCE,
                "euler",
                "karras",
                positive,
                negative,
                latent["samples"],
                disable_pbar=True,
                seed=0,
            )
            return self.vae.decode(samples).float().cpu()

        return clip
