"""VAE: the host's own class over our encoder and decoder."""

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.utils
import torch
from torch import Tensor, nn

from ...svd_model.checkpoint import Checkpoint
from ...svd_model.vae import ImageEncoder, VAEParams, VideoDecoder
from .shared import attention, network_weights


class FirstStage(nn.Module):
    """The encoder and the decoder as the host's VAE wants them, under the keys of the released files."""

    def __init__(self, encoder: ImageEncoder, decoder: VideoDecoder):
        super().__init__()
        self.encoder = encoder.encoder
        self.decoder = decoder.decoder
        self.quant_conv = encoder.quant_conv
        self.post_quant_conv = decoder.post_quant_conv
        self.temporal = decoder.temporal
        self.params = decoder.params

    def encode(self, images: Tensor) -> Tensor:
        """The mode of the posterior: (N, 3, H, W) in [−1, 1] -> (N, 4, H/8, W/8)."""
        return self.quant_conv(self.encoder(images))[:, : self.params.z_channels]

    def decode(self, z: Tensor, num_frames: int) -> Tensor:
        """(B·T, 4, h, w) -> (B·T, 3, 8h, 8w)."""
        return self.decoder(self.post_quant_conv(z), num_frames)


class VideoVAE(comfy.sd.VAE):
    """The host's VAE over our networks: temporal latents are always decoded as whole videos."""

    def __init__(self, first_stage: FirstStage, weights: dict[str, Tensor]):
        # Not the parent's: it looks for its own architectures in the weights. These are its attributes.
        params = first_stage.params
        self.first_stage_model = first_stage.eval().requires_grad_(False)
        self.downscale_ratio = self.upscale_ratio = params.downscale
        self.latent_channels, self.output_channels = params.z_channels, params.image_channels
        self.latent_dim = 2
        self.pad_channel_value = self.downscale_index_formula = self.upscale_index_formula = None
        self.extra_1d_channel = self.format_encoded = self.size = None
        self.crop_input = True
        self.handles_tiling = self.not_video = self.disable_offload = False
        self.process_input = lambda image: image * 2.0 - 1.0
        self.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
        self.working_dtypes = [torch.float32]
        self.device = comfy.model_management.vae_device()
        self.vae_dtype = comfy.model_management.vae_dtype(self.device, self.working_dtypes)
        self.output_device = comfy.model_management.intermediate_device()
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            first_stage.to(self.vae_dtype),
            load_device=self.device,
            offload_device=comfy.model_management.vae_offload_device(),
        )
        first_stage.load_state_dict(weights, strict=True, assign=self.patcher.is_dynamic())
        comfy.model_management.archive_model_dtypes(first_stage)

    def memory_used_decode(self, shape, dtype: torch.dtype) -> int:
        """Bytes for decoding latents of that shape, (T, 4, h, w): all frames at once when temporal."""
        frames = shape[0] if self.first_stage_model.temporal else 1
        return self.first_stage_model.params.decode_memory(frames, shape[2], shape[3], dtype)

    def memory_used_encode(self, shape, dtype: torch.dtype) -> int:
        """Bytes for encoding one image of a batch of that shape, (N, 3, H, W)."""
        scale = self.downscale_ratio
        return self.first_stage_model.params.decode_memory(1, shape[2] // scale, shape[3] // scale, dtype)

    def decode(
        self, samples_in: Tensor, vae_options: dict | None = None, num_frames: int | None = None
    ) -> Tensor:
        """(B·T, 4, h, w) -> (B·T, H, W, 3) in [0, 1]; without num_frames the batch is one video."""
        if samples_in.ndim == 5:  # core's video nodes: (B, 4, T, h, w)
            samples_in = samples_in.movedim(2, 1).flatten(0, 1)
        total = samples_in.shape[0]
        at_once = (num_frames or total) if self.first_stage_model.temporal else 1
        shape = (at_once, *samples_in.shape[1:])
        needed = self.memory_used_decode(shape, self.vae_dtype)
        comfy.model_management.load_models_gpu([self.patcher], memory_required=needed)
        progress = comfy.utils.ProgressBar(total)
        videos = []
        for start in range(0, total, at_once):
            comfy.model_management.throw_exception_if_processing_interrupted()
            z = samples_in[start : start + at_once].to(self.device, self.vae_dtype)
            frames = self.process_output(self.first_stage_model.decode(z, z.shape[0]).float())
            videos.append(frames.to(self.output_device, self.vae_output_dtype()))
            progress.update_absolute(start + len(z), total)
        return torch.cat(videos).movedim(1, -1)

    def decode_tiled(self, samples: Tensor, **tiles) -> Tensor:
        """The same as decode: tiles and single frames would give another, flickering picture."""
        return self.decode(samples)


def check_encoder(vae) -> None:
    """Raises ValueError where a VAE's latents are not of SVD's shape.

    The host's own SVD VAE passes, and so do those of Stable Diffusion 1 and 2, whose encoder SVD's is; SDXL's
    can't be told from them by what the host says of it.
    """
    what = "connect the VAE of SVD Load Checkpoint, or core's of an SVD checkpoint."
    if vae is None:
        raise ValueError(f"vae is empty: the file that it was loaded from has no VAE; {what}")
    channels, scale = vae.latent_channels, vae.spacial_compression_encode()
    ours = VAEParams()
    if (channels, scale, vae.latent_dim) != (ours.z_channels, ours.downscale, 2):
        raise ValueError(
            f"vae is another model's: its latents have {channels} channels at 1/{scale} of the size, SVD's "
            f"have {ours.z_channels} at 1/{ours.downscale}; {what}"
        )


def check_decoder(vae) -> None:
    """Raises ValueError where a VAE would not decode whole videos."""
    if not isinstance(vae, VideoVAE):
        raise ValueError(
            "this VAE is not Stillmotion's, which alone decodes whole videos; connect SVD Load Checkpoint or "
            "SVD Load VAE, or take core's VAE Decode."
        )


def load_vae(checkpoint: Checkpoint, frame_wise: bool = False) -> VideoVAE:
    """The VAE of a checkpoint: its encoder with its own decoder, or with a frame-wise one."""
    decoder = checkpoint.frame_wise_decoder if frame_wise else checkpoint.decoder
    if decoder is None:
        raise ValueError(f"{checkpoint.file.path.name} has no frame-wise decoder; choose 'as in the file'.")
    build = {"operations": comfy.ops.disable_weight_init, "attention": attention, "device": "cpu"}
    first_stage = FirstStage(checkpoint.encoder.build(**build), decoder.build(**build))
    weights = network_weights(checkpoint, checkpoint.encoder) | network_weights(checkpoint, decoder)
    return VideoVAE(first_stage, weights)
