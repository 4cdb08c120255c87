"""VAE: the host's own class over our encoder and decoder."""

import os
from collections.abc import Callable

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.utils
import folder_paths
import torch
from torch import Tensor, nn

from ...svd_model import layerwise
from ...svd_model.checkpoint import Checkpoint
from ...svd_model.networks.finite import FiniteCheck, NotFiniteError, check_finite, check_latents_to_decode
from ...svd_model.networks.vae import ImageEncoder, VAEParams, VideoDecoder
from .operations import with_kernels
from .shared import attention
from .values import check_images, check_latents, frames_as_batch

PROGRESS_STEPS = 100
"""Steps of the progress bar for one video."""


class FirstStage(nn.Module):
    """The encoder and the decoder under the keys of the released files, for the host to load and save."""

    def __init__(self, encoder: ImageEncoder, decoder: VideoDecoder):
        super().__init__()
        self.encoder = encoder.encoder
        self.decoder = decoder.decoder
        self.quant_conv = encoder.quant_conv
        self.post_quant_conv = decoder.post_quant_conv


class VideoVAE(comfy.sd.VAE):
    """The host's VAE over our networks: decodes whole videos exactly, in the memory that is free."""

    def __init__(self, encoder: ImageEncoder, decoder: VideoDecoder, weights: dict[str, Tensor]):
        # Sets the parent's attributes: the parent's __init__ looks for its own architectures in the weights.
        self._encoder, self._decoder = encoder, decoder
        first_stage = FirstStage(encoder, decoder)
        params = decoder.params
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
        """Bytes for decoding latents of a shape, (T, 4, h, w), with all tensors on the device."""
        return self._planner(shape, dtype).within(None).peak

    def memory_used_encode(self, shape, dtype: torch.dtype) -> int:
        """Bytes for encoding one image of a batch of a shape, (N, 3, H, W)."""
        return self._encode_planner(shape, dtype).within(None).peak

    def decode(
        self,
        samples_in: Tensor,
        vae_options: dict | None = None,
        num_frames: int | None = None,
        budget: int = 0,
        dtype: torch.dtype | None = None,
        ring: bool = False,
    ) -> Tensor:
        """Decodes (B·T, 4, h, w) to (B·T, H, W, 3) in [0, 1]; without num_frames the batch is one video.

        budget: bytes beyond the weights, 0 for the host's free bytes. dtype: of the computation, the VAE's
        for None. ring: whether each video is a loop, whose last frame comes before its first. The picture
        does not depend on the budget.
        """
        check_latents(samples_in)
        samples_in, frames_of_shape = frames_as_batch(samples_in)
        check_latents_to_decode(samples_in)
        total, _, height, width = samples_in.shape
        at_once = num_frames or frames_of_shape or total
        dtype = dtype or self.vae_dtype
        shape = (at_once, *samples_in.shape[1:])
        planner = self._planner(shape, dtype)
        peak = planner.within(budget or None).peak
        size = (total, height * self.upscale_ratio, width * self.upscale_ratio, self.output_channels)
        images = torch.empty(size, dtype=self.vae_output_dtype(), device=self.output_device)
        check = FiniteCheck(_refuse_frame)
        with comfy.model_management.cuda_device_context(self.device):
            free = self._load(peak, planner.smallest().peak)
            for start in range(0, total, at_once):
                frames = layerwise.decode_frames(
                    self._decoder,
                    samples_in[start : start + at_once].to(dtype),
                    budget=budget or free,
                    spill=self._spill(),
                    device=self.device,
                    progress=_progress(start // at_once, total // at_once),
                    ring=ring,
                )
                for index, frame in enumerate(frames, start):
                    images[index] = self.process_output(frame.float()).movedim(0, -1)
                    check.look_at(images[index], f"in frame {index + 1} of {total}")
        check.finish()
        return images

    def decode_tiled(self, samples: Tensor, **tiles) -> Tensor:
        """Decodes whole videos, like decode: tiles and single frames would give a flickering picture."""
        return self.decode(samples)

    def encode(self, pixel_samples: Tensor) -> Tensor:
        """Encodes (N, H, W, 3 or 4) in [0, 1] to (N, 4, H/8, W/8); sides are cut to multiples of 8."""
        check_images(pixel_samples)
        if min(pixel_samples.shape[1:3]) < self.downscale_ratio:
            height, width = pixel_samples.shape[1:3]
            raise ValueError(
                f"the image is {width}×{height} pixels; the encoder takes no side under "
                f"{self.downscale_ratio}: scale it up before."
            )
        check_finite(pixel_samples, "in the pictures to encode; look at the node that made them")
        pixels = self.process_input(self.vae_encode_crop_pixels(pixel_samples).movedim(-1, 1))
        planner = self._encode_planner(pixels.shape, self.vae_dtype)
        with comfy.model_management.cuda_device_context(self.device):
            budget = self._load(planner.within(None).peak, planner.smallest().peak)
            latents = layerwise.encode_frames(
                self._encoder,
                pixels.to(self.vae_dtype),
                budget=budget,
                device=self.device,
                progress=_progress(0, 1),
            )
        return latents.to(self.output_device, self.vae_output_dtype())

    def encode_tiled(self, pixel_samples: Tensor, **tiles) -> Tensor:
        """Encodes whole pictures, like encode, which needs no tiles."""
        return self.encode(pixel_samples)

    def _planner(self, shape, dtype: torch.dtype) -> layerwise.DecodePlanner:
        frames, _, height, width = shape
        options = {"temporal": self._decoder.temporal, "dtype": dtype, "device": self.device}
        return layerwise.DecodePlanner(self._decoder.params, frames, height, width, **options)

    def _encode_planner(self, shape, dtype: torch.dtype) -> layerwise.EncodePlanner:
        return layerwise.EncodePlanner(self._encoder.params, *shape[2:], dtype=dtype, device=self.device)

    def _load(self, needed: int, least: int) -> int:
        """Has the host load the weights and make room for `needed` bytes; returns the usable bytes."""
        # Asked for more than the device has, the host would leave the weights outside.
        most = comfy.model_management.get_total_memory(self.device) - 2 * self.patcher.model_size()
        needed = max(least, min(needed, most))
        comfy.model_management.load_models_gpu([self.patcher], memory_required=needed)
        return max(least, int(layerwise.SHARE_OF_FREE * self.patcher.get_free_memory(self.device)))

    def _spill(self) -> layerwise.Spill:
        """Room for tensors that don't fit: host memory, then the host's folder for temporary files."""
        free = comfy.model_management.get_free_memory(torch.device("cpu"))
        folder = folder_paths.get_temp_directory()
        os.makedirs(folder, exist_ok=True)
        return layerwise.Spill(self.device, int(layerwise.SHARE_OF_FREE * free), folder)


def _refuse_frame(where: str) -> None:
    # NaN alone is refused: infinity is a colour out of range, and is clamped.
    raise NotFiniteError(f"NaN {where}: the decoder's weights are damaged; download the file again.")


def _progress(video: int, videos: int) -> Callable[[float], None]:
    """The host's progress bar, and its cancel, for one of several videos."""
    bar = comfy.utils.ProgressBar(PROGRESS_STEPS * videos)

    def update(done: float) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(round(PROGRESS_STEPS * (video + done)), PROGRESS_STEPS * videos)

    return update


def check_encoder(vae) -> None:
    """Raises ValueError where a VAE's latents are not of SVD's shape.

    The host's own VAE of SVD passes, and the VAEs of Stable Diffusion 1 and 2, which share SVD's encoder. So
    does SDXL's, which has no attribute to tell it by.
    """
    remedy = "connect the VAE of SVD Load Checkpoint, or core's of an SVD checkpoint."
    if vae is None:
        raise ValueError(f"vae is empty: the file that it was loaded from has no VAE; {remedy}")
    channels, scale = vae.latent_channels, vae.spacial_compression_encode()
    svd = VAEParams()
    if (channels, scale, vae.latent_dim) != (svd.z_channels, svd.downscale, 2):
        raise ValueError(
            f"vae is another model's: its latents have {channels} channels at 1/{scale} of the size, SVD's "
            f"have {svd.z_channels} at 1/{svd.downscale}; {remedy}"
        )


def check_decoder(vae) -> None:
    """Raises ValueError for a VAE that does not decode whole videos."""
    if not isinstance(vae, VideoVAE):
        raise ValueError(
            "this VAE is not Stillmotion's, which alone decodes whole videos; connect SVD Load Checkpoint or "
            "SVD Load VAE, or take core's VAE Decode."
        )


def load_vae(checkpoint: Checkpoint, frame_wise: bool = False) -> VideoVAE:
    """The VAE of a checkpoint: its encoder, with its own decoder or a frame-wise one."""
    decoder = checkpoint.frame_wise_decoder if frame_wise else checkpoint.decoder
    if decoder is None:
        raise ValueError(f"{checkpoint.file.path.name} has no frame-wise decoder; choose 'as in the file'.")
    build = {
        "operations": with_kernels(comfy.ops.disable_weight_init),
        "attention": attention,
        "device": "cpu",
    }
    weights = checkpoint.encoder.tensors() | decoder.tensors()
    return VideoVAE(checkpoint.encoder.build(**build), decoder.build(**build), weights)
