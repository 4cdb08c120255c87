"""From a picture to the frames of a clip: load a checkpoint once, animate many pictures."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

import numpy as np
import torch
from torch import Tensor, nn

from ..clips import conditions
from ..clips.conditions import Conditions
from ..clips.noise import picture_noise, start_noise, step_noise
from ..clips.picture import to_canvas
from ..clips.settings import Settings
from ..samplers import guidance, preconditioning
from ..samplers.solvers import CHURNING, SOLVERS, Denoiser, silent
from ..svd_model import layerwise
from ..svd_model.checkpoint import Checkpoint, Part
from ..svd_model.checkpoint.sources import CheckpointError
from ..svd_model.networks import float8
from ..svd_model.networks.finite import FiniteCheck, check_latents_to_decode, complaint_of_sampling
from ..svd_model.networks.vae import LATENT_SCALE
from ..svd_model.networks.vision import preprocess
from . import noises
from .engine import memory
from .engine.devices import DTYPES, find_device, find_dtype, in_own_modes, loaded_once, named_dtype, to_device
from .engine.local import Branch, Evaluator
from .files import images

logger = logging.getLogger(__name__)

DECODE_DTYPES = {name: DTYPES[name] for name in ("float32", "bfloat16")}  # float16 overflows
LINEAR_DTYPES = ("float8",)

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Clip:
    """An animated picture."""

    frames: np.ndarray  # uint8, (T, H, W, 3)
    latents: Tensor  # float32, (T, 4, H/8, W/8), in the scale of the diffusion model
    settings: Settings  # complete


class Pipeline:
    """A checkpoint's networks on a device; they are loaded when first needed, and stay.

    The UNet and the image tower compute in `dtype`, the encoder in float32, the decoder in `decode_dtype`:
    float32 as in the reference, or bfloat16. `memory_budget`: bytes, or text such as "6GB", that encoding and
    decoding may take on the device, weights included (what is free, less a margin, if not given); what does
    not fit goes to host memory, then into files in `scratch_folder` (the system's temporary one). The clip is
    the same whatever the budget, and whatever modes, default dtype, default device and seed of torch's the
    caller has set, which stay as they are. Several threads may use one pipeline. `compiled`: the UNet by
    torch.compile, at the first step. `linear_dtype`: "float8" has its linear layers multiply in float8, on
    hardware that can; the clip is then another one, a little.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        progress: Progress | None = None,
        *,
        decode_dtype: str | torch.dtype = torch.float32,
        memory_budget: int | str | None = None,
        scratch_folder: str | Path | None = None,
        compiled: bool = False,
        linear_dtype: str | None = None,
    ):
        if not isinstance(checkpoint, Checkpoint):
            raise ValueError(
                f"checkpoint is {checkpoint!r}; give a Checkpoint, or the path to Pipeline.open."
            )
        self.checkpoint = checkpoint
        self.device = find_device(device)
        self.dtype = find_dtype(dtype, self.device)
        self.decode_dtype = named_dtype("decode_dtype", decode_dtype, DECODE_DTYPES)
        if linear_dtype not in (None, *LINEAR_DTYPES):
            raise ValueError(f"linear_dtype is {linear_dtype}; accepted is {', '.join(LINEAR_DTYPES)}.")
        if linear_dtype is not None and not float8.supported(self.device):
            raise ValueError(
                f"linear_dtype {linear_dtype} needs an NVIDIA GPU that multiplies it (RTX 40, H100 and "
                f"later), and {self.device} is none; leave it out."
            )
        self._compiled, self._linear_dtype = compiled, linear_dtype
        self._memory_budget = None if memory_budget is None else memory.find_size(memory_budget)
        if scratch_folder is not None and not os.path.isdir(scratch_folder):
            raise ValueError(f"scratch_folder is {str(scratch_folder)!r}, which is no folder; make it first.")
        self._scratch_folder = scratch_folder
        self._networks: dict[str, nn.Module] = {}
        self._loading = RLock()
        self._progress = progress or silent

    @classmethod
    def open(cls, path: str | Path, **options) -> "Pipeline":
        """The pipeline of a checkpoint file; options are those of the constructor."""
        return cls(Checkpoint.open(path), **options)

    def animate(
        self,
        image: images.Picture,
        settings: Settings | Mapping | None = None,
        noise: Tensor | np.ndarray | None = None,
    ) -> Clip:
        """The clip of a picture, of any kind that `images.read_image` takes; settings may be a dict of them.

        `noise`, (T, 4, H/8, W/8) of N(0, 1), replaces the seed's first noise.
        """
        settings = self._complete(settings)
        self.check_whole(settings)
        self.check_budget(*self.latent_size(settings), settings.frame_wise_decode)
        picture = self.prepare(image, settings)
        latents = self.animate_latents(picture, settings, noise)
        return Clip(self.decode_clip(latents, settings, picture), latents, settings)

    def latent_size(self, settings: Settings) -> tuple[int, int, int]:
        """Frames, height and width of the latents of a clip of complete settings."""
        scale = self.checkpoint.decoder.params.downscale
        return settings.num_frames, settings.height // scale, settings.width // scale

    def check_whole(self, settings: Settings, sample: bool = True, decode: bool = True) -> None:
        """Raises CheckpointError, before any work, where a network that it needs is not whole."""
        checkpoint = self.checkpoint
        networks = [checkpoint.unet, checkpoint.encoder, checkpoint.vision] if sample else []
        if decode:
            networks.append(self.checkpoint.decoder_for(settings.frame_wise_decode))
        for network in networks:
            if not network.whole:
                raise CheckpointError(network.why_incomplete())
        misfits = self.checkpoint.misfits()
        if misfits:
            path = self.checkpoint.file.path
            raise CheckpointError(f"{path}: its networks don't fit together: {'; '.join(misfits)}.")

    def check_budget(
        self, num_frames: int, height: int, width: int, frame_wise: bool, encode: bool = True
    ) -> None:
        """Raises NotEnoughMemoryError, before any work, for a budget that is too small.

        Height and width are those of the latents.
        """
        self._decode_budget(num_frames, height, width, frame_wise)
        if encode:
            scale = self.checkpoint.encoder.params.downscale
            self._encode_budget(scale * height, scale * width)

    def animate_latents(
        self, picture: Tensor, settings: Settings, noise: Tensor | np.ndarray | None = None
    ) -> Tensor:
        """The latents of the clip of a picture that `prepare` gave."""
        settings = self._complete(settings)
        return self.sample(self.encode(picture, settings), settings, noise)

    def decode_clip(self, latents: Tensor, settings: Settings, picture: Tensor | None) -> np.ndarray:
        """The frames of those latents, uint8 (T, H, W, 3); an orbit ends on the picture, if given."""
        return np.stack(list(self.stream_clip(latents, settings, picture)))

    def stream_clip(
        self, latents: Tensor, settings: Settings, picture: Tensor | None
    ) -> Iterator[np.ndarray]:
        """The same, frame by frame as they are made: uint8 (H, W, 3)."""
        last = len(latents) - 1
        for index, frame in enumerate(self.stream(latents, Settings.of(settings).frame_wise_decode)):
            if index == last and self.checkpoint.variant.orbit and picture is not None:
                frame = picture[0]  # the reference ends the orbit on the input itself
            yield images.to_uint8(frame[None])[0]

    def prepare(self, image: images.Picture, settings: Settings) -> Tensor:
        """The picture at the size of the video, (1, 3, H, W) in [−1, 1]; transparency becomes white."""
        settings = self._complete(settings)
        pixels = images.to_tensor(images.read_image(image))
        size = (settings.width, settings.height)
        return to_canvas(pixels, *size, settings.fit, cut_out=self.checkpoint.variant.orbit)

    @in_own_modes
    def encode(self, picture: Tensor, settings: Settings) -> Conditions:
        """The conditions of the UNet for a picture that `prepare` gave; the seed's noise is on its latent."""
        settings = self._complete(settings)
        size = self.vision.params.image_size
        pixels = preprocess(picture, size).to(self.device, self.dtype)
        context = self.vision(pixels).float()[:, None]
        noisy = picture + settings.noise_aug * picture_noise(settings.seed, picture.shape)
        return Conditions(context, self.encode_pictures(noisy), self._vector(settings).to(self.device))

    def _vector(self, settings: Settings) -> Tensor:
        """The numbers of complete settings, as the UNet is told them."""
        chosen = {
            "fps": settings.fps,
            "motion_bucket_id": settings.motion_bucket_id,
            "elevation": settings.elevation,
            "azimuths": settings.azimuths,
        }
        chosen = {name: value for name, value in chosen.items() if value is not None}
        return conditions.vector(self.checkpoint.variant, settings.num_frames, settings.noise_aug, **chosen)

    def _complete(self, settings: Settings | Mapping | None) -> Settings:
        """The settings with the checkpoint's defaults for what is left to them; complete ones stay."""
        return Settings.of(settings).complete(self.checkpoint.variant)

    @in_own_modes
    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """The latents of pictures, (N, 3, H, W) in [−1, 1], unscaled, float32 on the device."""
        encoder, budget = self.encoder, self._encode_budget(*pictures.shape[2:])
        return layerwise.encode_frames(encoder, pictures, budget=budget, device=self.device)

    @in_own_modes
    def sample(
        self,
        conditions: Conditions,
        settings: Settings,
        noise: Tensor | np.ndarray | None = None,
    ) -> Tensor:
        """Latents of a clip, float32 on the CPU; raises NotFiniteError where the numbers overflow."""
        settings = self._complete(settings)
        shape = (settings.num_frames, *conditions.concat.shape[1:])
        noise = start_noise(settings.seed, shape) if noise is None else noises.checked(noise, shape)
        next_noise = step_noise(settings.seed)
        check = FiniteCheck(self._refuse_not_finite)

        def fresh_noise(x: Tensor) -> Tensor:
            return to_device(next_noise(x.shape), x.device)

        def after_step(step: int, x: Tensor, denoised: Tensor) -> None:
            check.look_at(denoised, f"at step {step + 1} of {settings.steps}")
            self._progress("sampling", step + 1, settings.steps)

        sigmas = settings.sigmas()  # on the CPU, where solvers look at them
        denoise = self.denoiser(conditions, settings)
        x = preconditioning.scale_noise(noise.to(self.device), sigmas[0])
        churn = {"churn": settings.churn} if settings.sampler in CHURNING else {}
        self._progress("sampling", 0, settings.steps)
        solver = SOLVERS[settings.sampler]
        x = solver(denoise, x, sigmas, noise=fresh_noise, callback=after_step, **churn)
        check.look_at(x, "after the last step")
        check.finish()
        return x.cpu()

    @in_own_modes
    def denoiser(self, conditions: Conditions, settings: Settings) -> Denoiser:
        """The guided denoiser D(x, σ) of a clip, for a solver."""
        settings = self._complete(settings)
        evaluate = Evaluator(
            self.unet,
            {
                guidance.CONDITIONAL: Branch(conditions),
                guidance.UNCONDITIONAL: Branch(conditions.unconditional()),
            },
            self.dtype,
            sigmas=settings.sigmas(),
            feature_cache=settings.feature_cache,
        )
        scales, interval = settings.guidance_scales(), settings.guidance_interval
        return guidance.guided(evaluate, [guidance.TERMS["cfg"](scales, interval)])

    def decode(self, latents: Tensor, frame_wise: bool = False) -> Tensor:
        """Latents of a clip, (T, 4, h, w) in the diffusion model's scale, to frames near [−1, 1], float32."""
        return torch.stack(list(self.stream(latents, frame_wise)))

    @torch.inference_mode(False)  # in which gradients are on, so the order counts
    @torch.no_grad()
    def stream(self, latents: Tensor, frame_wise: bool = False) -> Iterator[Tensor]:
        """The same, frame by frame as they are made: (3, 8h, 8w), on the CPU."""
        check_latents_to_decode(latents)
        frames, _, height, width = latents.shape
        decoder = self.frame_wise_decoder if frame_wise else self.decoder
        budget = self._decode_budget(frames, height, width, frame_wise)
        self._progress("decoding", 0, 100)
        for frame in layerwise.decode_frames(
            decoder,
            (latents / LATENT_SCALE).to(self.decode_dtype),
            budget=budget,
            spill=layerwise.Spill(self.device, self._host_memory(), self._scratch_folder),
            device=self.device,
            progress=lambda done: self._progress("decoding", round(100 * done), 100),
        ):
            yield frame.float().cpu()

    def _decode_budget(self, num_frames: int, height: int, width: int, frame_wise: bool) -> int | None:
        """Bytes for the tensors of decoding latents of that height and width."""
        network = self.checkpoint.decoder_for(frame_wise)
        least = memory.tensors_to_decode(
            self.checkpoint, num_frames, height, width, frame_wise, self.decode_dtype, self.device
        )
        scale = network.params.downscale
        work = f"decoding {num_frames} frames of {scale * width}×{scale * height}"
        return self._budget(work, network, least)

    def _encode_budget(self, height: int, width: int) -> int | None:
        """Bytes for the tensors of encoding a picture of that size."""
        network = self.checkpoint.encoder
        size = (network.params, height, width)
        least = layerwise.smallest_budget(layerwise.plan_encode, *size, device=self.device)
        return self._budget(f"encoding a picture of {width}×{height}", network, least)

    def _budget(self, work: str, network: Part, least: int) -> int | None:
        """Bytes for the tensors of a network, which can't do with less than `least`; None for no bound."""
        if self._memory_budget is None:
            free = memory.available(self.device)
            return None if free is None else max(least, int(layerwise.SHARE_OF_FREE * free))
        besides = network.size + memory.overhead(self.device)
        if self._memory_budget < least + besides:
            budget, needed = (layerwise.in_units(size) for size in (self._memory_budget, least + besides))
            message = f"the memory budget is {budget}, and {work} needs at least {needed}, weights included"
            raise layerwise.NotEnoughMemoryError(message, least + besides)
        return self._memory_budget - besides

    def _host_memory(self) -> int:
        """Bytes of host memory for what a device has no room for."""
        return int(layerwise.SHARE_OF_FREE * memory.available(torch.device("cpu")))

    def _refuse_not_finite(self, where: str) -> None:
        raise complaint_of_sampling(where, self.dtype, "use the dtype bfloat16 or float32")

    @loaded_once
    def unet(self) -> nn.Module:
        """The UNet, in the pipeline's dtype."""
        if self._linear_dtype is None:
            unet = self._load(self.checkpoint.unet, self.dtype)
        else:
            unet = self._load(self.checkpoint.unet, self.dtype, operations=float8.Float8Operations)
            float8.quantise(unet)
        if self._compiled:
            unet.compile_parts()
        return unet

    @loaded_once
    def vision(self) -> nn.Module:
        """The CLIP image tower."""
        return self._load(self.checkpoint.vision, self.dtype)

    @loaded_once
    def encoder(self) -> nn.Module:
        """The VAE's encoder, in float32."""
        return self._load(self.checkpoint.encoder, torch.float32)

    @loaded_once
    def decoder(self) -> nn.Module:
        """The file's own decoder, in float32."""
        return self._load(self.checkpoint.decoder, torch.float32)

    @loaded_once
    def frame_wise_decoder(self) -> nn.Module:
        """The decoder that takes each frame on its own, in float32."""
        network = self.checkpoint.decoder_for(frame_wise=True)
        return self.decoder if network is self.checkpoint.decoder else self._load(network, torch.float32)

    def _load(self, network: Part, dtype: torch.dtype, **build) -> nn.Module:
        self._progress(f"loading the {network.name}", 0, 1)
        module = network.load(dtype=dtype, device=self.device, **build)
        self._progress(f"loading the {network.name}", 1, 1)
        return module
