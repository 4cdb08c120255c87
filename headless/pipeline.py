"""From a picture to the frames of a clip: load a checkpoint once, animate many pictures."""

import logging
import os
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..clips.conditions import Conditions
from ..clips.needs import Size
from ..clips.plan import Plan
from ..clips.recipes import Decode, Embed, Encode, Keep, Latent, Sample, Step, drive, returned
from ..clips.recipes.animate import sampled
from ..clips.recipes.clip import clip
from ..clips.run import Run
from ..clips.settings import Settings
from ..samplers.solvers import Denoiser, silent
from ..svd_model import layerwise
from ..svd_model.adapters.exvideo import opened as exvideo_over
from ..svd_model.checkpoint import Checkpoint, Part
from ..svd_model.checkpoint.controlnet import check_fits, open_controlnet
from ..svd_model.networks import float8
from ..svd_model.networks.controlnet import ControlNet
from ..svd_model.networks.finite import check_latents_to_decode
from ..svd_model.networks.unet import VideoUNet
from ..svd_model.networks.vae import LATENT_SCALE
from ..svd_model.networks.vision import preprocess
from . import caller_noise
from .control import control_pictures
from .engine import local, memory
from .engine.decoding import decoded, share_of
from .engine.devices import DTYPES, check_linear_dtype, find_device, find_dtype, in_own_modes, named_dtype
from .engine.fit import Choice, Fit, latent_size
from .engine.loras import Choice as LoRAChoice
from .engine.loras import read as read_loras
from .engine.loras import with_loras
from .engine.networks import Networks
from .engine.parallel import OutOfMemoryOnRankError, may_retry
from .engine.ranks import Ranks
from .files import control_frames, images
from .keyframes import by_frame, fitted
from .motion import MotionVideo, directions
from .references import Reference, read_references

logger = logging.getLogger(__name__)

DECODE_DTYPES = {name: DTYPES[name] for name in ("float32", "bfloat16")}  # float16 overflows

FRAME_WISE, CONTROL = "frame_wise_decoder", "control"

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Clip:
    """An animated picture."""

    frames: np.ndarray  # uint8, (T, H, W, 3)
    latents: Tensor  # float32, (T, 4, H/8, W/8), in the scale of the diffusion model
    settings: Settings  # complete


class Pipeline:
    """A checkpoint's networks on a device; they are loaded when first needed, and stay while they fit.

    The UNet and the image tower compute in `dtype`, the encoder in float32, the decoder in `decode_dtype`:
    float32 as in the reference, or bfloat16. `memory_budget`: bytes, or text such as "6GB", that a whole run
    may take on the device, weights included (by default the free memory less a margin). Networks that are
    done leave the device where there is no room for them; the UNet's weights stream from host memory where
    even they don't fit; tensors of decoding that do not fit go to host memory, then into files in
    `scratch_folder` (the system's temporary one). The clip depends neither on the budget nor on torch's
    modes, default dtype, default device and seed, which stay. Several threads may use one pipeline.
    `compiled`: the UNet by torch.compile, at the first step. `control`: the file or folder of a temporal
    ControlNet, for clips with control pictures. `linear_dtype`: "float8" has its linear layers
    multiply in float8, on hardware that can; the clip is then another one, a little. `loras`: files, or
    tuples of a file, its strength and the strength of its layers over time, for the UNet's weights. `ranks`:
    processes that all call this one's methods, in one order and with equal inputs, and divide the work.
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
        control: str | Path | Part | None = None,
        loras: Sequence[LoRAChoice] = (),
        ranks: Ranks | None = None,
    ):
        if not isinstance(checkpoint, Checkpoint):
            raise ValueError(
                f"checkpoint is {checkpoint!r}; give a Checkpoint, or the path to Pipeline.open."
            )
        self.loras = read_loras(checkpoint, loras)
        self.checkpoint = checkpoint = with_loras(checkpoint, self.loras)
        self.ranks = ranks
        self.device = find_device(device if ranks is None or device is not None else ranks.device)
        self.dtype = find_dtype(dtype, self.device)
        self.decode_dtype = named_dtype("decode_dtype", decode_dtype, DECODE_DTYPES)
        check_linear_dtype(linear_dtype, self.device)
        self._compiled, self.linear_dtype = compiled, linear_dtype
        budget = None if memory_budget is None else memory.find_size(memory_budget)
        can_stream = not compiled and linear_dtype is None
        if control is not None and not isinstance(control, Part):
            control = open_controlnet(control)
        if control is not None:
            check_fits(control, checkpoint.unet.params)
        where = self.device, self.dtype, self.decode_dtype
        self.fit = Fit(checkpoint, *where, budget, can_stream, control, ranks.size if ranks else 1)
        if scratch_folder is not None and not os.path.isdir(scratch_folder):
            raise ValueError(f"scratch_folder is {str(scratch_folder)!r}, which is no folder; make it first.")
        self._scratch_folder = scratch_folder
        self._progress = progress or silent
        loaders = {
            "unet": self._load_unet,
            "vision": lambda device: self._load(checkpoint.vision, self.dtype, device),
            "encoder": lambda device: self._load(checkpoint.encoder, torch.float32, device),
            "decoder": lambda device: self._load(checkpoint.decoder, torch.float32, device),
            CONTROL: lambda device: self._load(control, self.dtype, device),
            FRAME_WISE: lambda device: self._load(checkpoint.decoder_for(True), torch.float32, device),
        }
        self._networks = Networks(loaders, self.device)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        unet: str | Path | None = None,
        vae: str | Path | None = None,
        image_encoder: str | Path | None = None,
        exvideo: str | Path | None = None,
        **options,
    ) -> "Pipeline":
        """Opens a checkpoint, a file or a folder, and makes its pipeline; `options` go to the constructor.

        unet, vae, image_encoder: files or folders whose part replaces the checkpoint's. exvideo: a file of
        ExVideo's temporal blocks, which go over svd_xt's.
        """
        checkpoint = Checkpoint.open(path, unet=unet, vae=vae, image_encoder=image_encoder)
        return cls(checkpoint if exvideo is None else exvideo_over(checkpoint, exvideo), **options)

    def animate(
        self,
        image: images.Picture,
        settings: Settings | Mapping | None = None,
        noise: Tensor | np.ndarray | None = None,
        control: control_frames.Frames | None = None,
        *,
        end_frame: images.Picture | None = None,
        keyframes: Mapping[int, images.Picture] | None = None,
        motion: str | os.PathLike[str] | Mapping | MotionVideo | None = None,
        freeze: images.Picture | None = None,
        nearness: images.Picture | None = None,
        references: Sequence[Reference] = (),
        reference_mask: images.Picture | None = None,
    ) -> Clip:
        """Animates a picture, of any kind that `images.read_image` reads; settings may be a dict.

        `noise`, (T, 4, H/8, W/8) of N(0, 1), replaces the seed's first noise, of a long clip's first chunk or
        window. `control`: pictures for the ControlNet, one for each frame or one for all, as
        `control_frames.read_frames` reads them. `end_frame`: the picture on which the clip ends. `keyframes`:
        pictures by their frames, from 1 on. `motion`: what moves where, as `motion.directions` reads it.
        `freeze`: a mask, white where the picture stays. `nearness`: bright where it is near. `references`:
        pictures that lead its look, or (picture, weight); `reference_mask`: white where they count.
        """
        keyframes, moving = by_frame(keyframes), directions(motion, freeze, nearness)
        plan = self.plan(settings, keyframes, end_frame is not None, moving.moves, moving.freezes)
        for doubt in (*plan.doubts(), *moving.doubts(plan)):
            logger.warning(doubt)
        controlling, at_once = control_pictures(plan, control, self.fit.control), max(plan.run_frames)
        self.fit.check(self.latent_size(plan), plan.settings.frame_wise_decode, at_once=at_once)
        start = caller_noise.checked(noise, plan, self._shape(plan))
        pictures = fitted(plan, keyframes, end_frame)
        pictures[0], course = moving.course(plan, images.read_image(image))
        look = read_references(plan, references, reference_mask)
        recipe, latents = clip(plan, pictures, start, controlling, None, course, *look), []

        def perform(step: Step):
            if isinstance(step, Decode):
                latents.append(step.latents)
            return self.perform(step)

        (frames,) = drive([recipe], perform)
        return Clip(np.stack(list(frames)), latents[0], plan.settings)

    def plan(
        self,
        settings: Settings | Mapping | None,
        keyframes: Collection[int] = (),
        end_frame: bool = False,
        moves: bool = False,
        freezes: bool = False,
    ) -> Plan:
        """Resolves settings for the checkpoint, with its defaults for every None.

        keyframes: frames of pictures after the first. end_frame: whether the last frame has one. moves,
        freezes: whether parts of the first one are moved, and kept still.
        """
        variant = self.checkpoint.variant
        plan = Plan.of(Settings.of(settings), variant, keyframes, end_frame, moves, freezes)
        plan.check_network(self.checkpoint.unet.params)
        return plan

    def latent_size(self, plan: Plan) -> Size:
        """Frames, height and width of the latents of a clip."""
        return latent_size(self.checkpoint, plan)

    def perform(self, step: Step):
        """Performs a step of a recipe; Decode gives an iterator of decoded frames, uint8 (H, W, 3)."""
        if isinstance(step, Encode):
            return self._embed(step.picture), self.encode_pictures(step.noisy)
        if isinstance(step, Embed):
            return self._embed(step.picture)
        if isinstance(step, Latent):
            return self.encode_pictures(step.picture).cpu() * LATENT_SCALE
        if isinstance(step, Sample):
            return self.sample_run(step.run, step.number, step.total)
        return None if isinstance(step, Keep) else self._frames(step)

    def prepare(self, image: images.Picture, settings: Settings) -> Tensor:
        """The picture at the size of the video, (1, 3, H, W) in [−1, 1]; transparency becomes white."""
        return self.plan(settings).canvas(images.to_tensor(images.read_image(image)))

    def encode(self, picture: Tensor, settings: Settings) -> Conditions:
        """Conditions of the UNet for a picture from `prepare`; its latent is of the noisy picture."""
        plan = self.plan(settings)
        return plan.conditions(self._embed(picture), self.encode_pictures(plan.noisy(picture)))

    @in_own_modes
    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """The latents of pictures, (N, 3, H, W) in [−1, 1], unscaled, float32 on the device."""
        choice = self.fit.to_encode(*pictures.shape[2:], self._networks.held("encoder"))
        with self._networks.use("encoder", choice) as encoder:
            budget = choice.activations
            return layerwise.encode_frames(encoder, pictures, budget=budget, device=self.device)

    def sample(
        self, conditions: Conditions, settings: Settings, noise: Tensor | np.ndarray | None = None
    ) -> Tensor:
        """Latents of a clip, float32 on the CPU; raises NotFiniteError where the numbers overflow."""
        plan = self.plan(settings)
        start = caller_noise.checked(noise, plan, self._shape(plan))
        return returned(sampled(plan, conditions, start), self.perform)

    @in_own_modes
    def sample_run(self, run: Run, number: int = 1, total: int = 1) -> Tensor:
        """Latents of a run, float32 on the CPU; raises NotFiniteError where the numbers overflow.

        number: of a clip's runs, of which there are `total`, for the progress of them all.
        """
        steps = len(run.sigmas) - 1

        def progress(done: int, _: int) -> None:
            self._progress("sampling", (number - 1) * steps + done, total * steps)

        choice = self._choice_for(run)
        try:
            return self._sample(run, choice, progress)
        except (layerwise.NotEnoughMemoryError, torch.OutOfMemoryError, OutOfMemoryOnRankError) as error:
            streams = self._choice_for(run, stays=False)
            if not may_retry(self.ranks, error, streams.streams and not choice.streams):
                raise
        logger.info("out of memory beside the UNet's weights; they stream from host memory now")
        return self._sample(run, streams, progress)

    @in_own_modes
    def denoiser(self, conditions: Conditions, settings: Settings) -> Denoiser:
        """The guided denoiser D(x, σ) of a clip, for a solver; the UNet stays in use as long as it lives.

        Of a long clip it is the first chunk's, or a window's.
        """
        run, stack = self.plan(settings).run(conditions), ExitStack()
        choice = self._choice_for(run)
        unet, control = self._in_use(run, choice, stack)
        denoise = local.denoiser(unet, run, self.dtype, choice.activations, control, self.ranks)
        weakref.finalize(denoise, stack.close)
        return denoise

    def decode(self, latents: Tensor, frame_wise: bool = False, ring: bool = False) -> Tensor:
        """Latents of a clip, (T, 4, h, w) in the diffusion model's scale, to frames near [−1, 1], float32.

        ring: whether the clip is a loop, whose last frame comes before its first.
        """
        return torch.stack(list(self.stream(latents, frame_wise, ring)))

    @torch.inference_mode(False)  # in which gradients are on, so the order counts
    @torch.no_grad()
    def stream(self, latents: Tensor, frame_wise: bool = False, ring: bool = False) -> Iterator[Tensor]:
        """Yields each decoded frame at once, on ranks at the end: (3, 8h, 8w) near [−1, 1], on the CPU."""
        check_latents_to_decode(latents)
        frames, _, height, width = latents.shape
        name, share = self._decoder_name(frame_wise), share_of(frames, ring, self.ranks)
        size = (frames if share is None else share.held, height, width)
        choice = self.fit.to_decode(size, frame_wise, self._networks.held(name))
        with self._networks.use(name, choice) as decoder:
            self._progress("decoding", 0, 100)
            yield from decoded(
                decoder,
                (latents / LATENT_SCALE).to(self.decode_dtype),
                share,
                ring=ring,
                budget=choice.activations,
                spill=layerwise.Spill(self.device, memory.for_spilling(self.fit.ranks), self._scratch_folder),
                device=self.device,
                progress=lambda done: self._progress("decoding", round(100 * done), 100),
            )

    def _frames(self, step: Decode) -> Iterator[np.ndarray]:
        for frame in step.shown(self.stream(step.latents, step.frame_wise, step.ring)):
            yield images.to_uint8(frame[None])[0]

    @in_own_modes
    def _embed(self, picture: Tensor) -> Tensor:
        """The picture's CLIP embedding, (1, 1, context_dim), float32 on the device."""
        pixels = preprocess(picture, self.checkpoint.vision.params.image_size).to(self.device, self.dtype)
        choice = self.fit.to_embed(self._networks.held("vision"))
        with self._networks.use("vision", choice) as vision:
            return vision(pixels).float()[:, None]

    def _sample(self, run: Run, choice: Choice, progress: Callable[[int, int], object]) -> Tensor:
        with ExitStack() as stack:
            unet, control = self._in_use(run, choice, stack)
            where = self.dtype, self.device
            return local.sample(unet, run, *where, progress, choice.activations, control, self.ranks)

    def _in_use(self, run: Run, choice: Choice, stack: ExitStack) -> tuple[VideoUNet, ControlNet | None]:
        """The UNet, and the ControlNet of a run that has a control, until the stack closes."""
        unet = stack.enter_context(self._networks.use("unet", choice))
        if run.control is None:
            return unet, None
        return unet, stack.enter_context(self._networks.use(CONTROL, choice))

    def _choice_for(self, run: Run, stays: bool = True) -> Choice:
        """How a run is sampled; stays: whether the UNet's weights may stay on the device."""
        networks = ("unet",) if run.control is None else ("unet", CONTROL)
        return self.fit.to_sample_run(run, self._networks.held(*networks), stays)

    def _shape(self, plan: Plan) -> tuple[int, int, int, int]:
        """Shape of the latents that the UNet takes at once."""
        _, height, width = self.latent_size(plan)
        return plan.settings.frames_at_once, self.checkpoint.unet.params.out_channels, height, width

    @property
    def unet(self) -> nn.Module:
        """The UNet, in the pipeline's dtype."""
        return self._networks["unet"]

    @property
    def vision(self) -> nn.Module:
        """The CLIP image tower."""
        return self._networks["vision"]

    @property
    def encoder(self) -> nn.Module:
        """The VAE's encoder, in float32."""
        return self._networks["encoder"]

    @property
    def decoder(self) -> nn.Module:
        """The file's own decoder, in float32."""
        return self._networks["decoder"]

    @property
    def frame_wise_decoder(self) -> nn.Module:
        """The decoder that takes each frame on its own, in float32."""
        return self._networks[self._decoder_name(frame_wise=True)]

    def _decoder_name(self, frame_wise: bool) -> str:
        own = not frame_wise or self.checkpoint.decoder_for(True) is self.checkpoint.decoder
        return "decoder" if own else FRAME_WISE

    def _load_unet(self, device: torch.device) -> VideoUNet:
        if self.linear_dtype is None:
            unet = self._load(self.checkpoint.unet, self.dtype, device)
        else:
            unet = self._load(self.checkpoint.unet, self.dtype, device, operations=float8.Float8Operations)
            float8.quantise(unet)
        if self._compiled:
            unet.compile_parts()
        return unet

    def _load(self, network: Part, dtype: torch.dtype, device: torch.device, **build) -> nn.Module:
        self._progress(f"loading the {network.name}", 0, 1)
        module = network.load(dtype=dtype, device=device, **build)
        self._progress(f"loading the {network.name}", 1, 1)
        return module
