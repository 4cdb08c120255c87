"""The spatio-temporal UNet of Stable Video Diffusion. Attribute names are the checkpoint's keys."""

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import kernels, planes
from .embedding import sinusoidal_embedding
from .hooks import NO_HOOKS, Hooks, Place
from .operations import Attention, CastingOperations, scaled_dot_product_attention
from .pieces import WHOLE, Pieces
from .residual import TimeShifts, VideoResBlock
from .transformer import SpatialVideoTransformer, TransformerContext

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UNetParams:
    """Sizes of a UNet. The defaults fit SVD's checkpoints; SV3D's differ in vector_dim alone."""

    in_channels: int = 8
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attention_levels: int = 3  # with attention, from the largest features on; the middle always has it
    head_channels: int = 64
    context_dim: int = 1024
    vector_dim: int = 768
    frame_positions: int = 0  # learned ones, a number for each frame of the longest clip; 0: sinusoids

    def places(self) -> tuple[Place, ...]:
        """The layout of the UNet: the place of each stage, in the order of the work.

        Input stage 0 is a convolution. A level's other input stages begin with one that halves the features.
        """
        stages = self.num_res_blocks + 1  # of a level, in each part
        bottom = len(self.channel_mult) - 1
        indices = range(stages * (bottom + 1))
        down = [("input", index, index // stages) for index in indices]
        up = [("output", index, bottom - index // stages) for index in indices]
        numbers = itertools.count()

        def number(part: str, index: int, level: int) -> int | None:
            residual = part != "input" or index % stages > 0
            attends = part == "middle" or (residual and level < self.attention_levels)
            return next(numbers) if attends else None

        layout = (*down, ("middle", 0, bottom), *up)
        return tuple(Place(*stage, number(*stage)) for stage in layout)

    def width(self, level: int) -> int:
        """Channels of the features at a level."""
        return self.channel_mult[level] * self.model_channels


class RunConstants(NamedTuple):
    """Conditioning of a sampling run, computed once for all of its steps."""

    vector: Tensor  # embedded, (B·T, E)
    contexts: tuple[tuple[TransformerContext, ...], ...]  # by stage, then by transformer
    num_frames: int


StepShifts = tuple[tuple[TimeShifts, ...], ...]
"""Shifts of a step for a whole UNet, by stage, then by residual block."""


class Downsample(nn.Module):
    """Convolution of stride 2, which halves height and width."""

    def __init__(self, channels: int, operations, **factory):
        super().__init__()
        self.op = operations.Conv2d(channels, channels, 3, stride=2, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def enlarged_units(in_planes: bool) -> int:
    """Temporary tensors of an upsampling, in sizes of its input: enlarged features, and their convolution.

    A GPU's convolution copies both to another layout.
    """
    return 16 if in_planes else 8


class Upsample(nn.Module):
    """Nearest-neighbour enlargement to twice the height and width, then a convolution."""

    def __init__(self, channels: int, operations, **factory):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1, **factory)

    def forward(self, x: Tensor, pieces: Pieces = WHOLE) -> Tensor:
        """Enlarge features: (N, C, H, W) -> (N, C, 2H, 2W)."""
        each = enlarged_units(planes.used(x)) * x[0].numel() * x.dtype.itemsize
        if pieces.hold(len(x) * each):
            return self._enlarged(x)
        rows, channels, height, width = x.shape
        result = kernels.empty((rows, channels, 2 * height, 2 * width), x)
        for frames in pieces.groups(rows, each):
            result[frames] = self._enlarged(x[frames])
        return result

    def _enlarged(self, x: Tensor) -> Tensor:
        if self.conv.takes_kernels:
            return self.conv.compute(x, kernels.enlarge)
        return self.conv(functional.interpolate(x, scale_factor=2, mode="nearest"))


class Stage(nn.Sequential):
    """Layers in a row, each called with its own conditioning."""

    def prepare(self, context: Tensor, num_frames: int) -> tuple[TransformerContext, ...]:
        """Contexts of the stage's transformers, in order."""
        transformers = (layer for layer in self if isinstance(layer, SpatialVideoTransformer))
        return tuple(layer.prepare(context, num_frames) for layer in transformers)

    def shifts(self, emb: Tensor) -> tuple[TimeShifts, ...]:
        """Shifts of the stage's residual blocks, in order."""
        return tuple(layer.shifts(emb) for layer in self if isinstance(layer, VideoResBlock))

    def forward(
        self,
        parts: list[Tensor],
        shifts: tuple[TimeShifts, ...],
        contexts: tuple[TransformerContext, ...],
        num_frames: int,
        hooks: Hooks,
        place: Place,
        pieces: Pieces = WHOLE,
    ) -> Tensor:
        """Run the layers on features, joined from parts (B·T, C_i, H, W). The list is emptied."""
        next_shifts, next_context = iter(shifts), iter(contexts)
        for layer in self:
            if isinstance(layer, VideoResBlock):
                parts.append(layer(parts, next(next_shifts), num_frames, pieces))
            elif isinstance(layer, SpatialVideoTransformer):
                parts.append(layer(parts.pop(), next(next_context), hooks, place, pieces))
            elif isinstance(layer, Upsample):
                parts.append(layer(parts.pop(), pieces))
            else:
                parts.append(layer(parts.pop()))
        return parts.pop()


def _input_blocks(
    params: UNetParams, first: nn.Module, residual: Callable, transformer: Callable, down: Callable
) -> tuple[nn.ModuleList, list[int]]:
    """Stages on the way down, and the channels of their outputs, which the way up joins as skips."""
    places = [place for place in params.places() if place.part == "input"]
    blocks, skips = nn.ModuleList([Stage(first)]), [params.model_channels]
    for predecessor, place in itertools.pairwise(places):
        channels = skips[-1]
        if place.level > predecessor.level:
            layers = [down(channels)]
        else:
            layers = [residual(channels, params.width(place.level))]
            channels = params.width(place.level)
        if place.number is not None:
            layers.append(transformer(channels))
        blocks.append(Stage(*layers))
        skips.append(channels)
    return blocks, skips


def _output_blocks(
    params: UNetParams, skips: list[int], residual: Callable, transformer: Callable, up: Callable
) -> nn.ModuleList:
    """Stages on the way up. Each joins the last remaining skip to its input."""
    places = [place for place in params.places() if place.part == "output"]
    blocks, skips = nn.ModuleList(), list(skips)
    channels = skips[-1]
    for place, successor in itertools.zip_longest(places, places[1:]):
        layers = [residual(channels + skips.pop(), params.width(place.level))]
        channels = params.width(place.level)
        if place.number is not None:
            layers.append(transformer(channels))
        if successor is not None and successor.level < place.level:
            layers.append(up(channels))
        blocks.append(Stage(*layers))
    return blocks


def _either(plain: Callable[..., Tensor], compiled: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compiled function, which calls the plain one where its argument `pieces` bounds the work."""

    def call(*inputs, pieces: Pieces = WHOLE) -> Tensor:
        if pieces == WHOLE:
            return compiled(*inputs)
        logger.info("memory is short: the UNet runs in pieces, which are not compiled")
        return plain(*inputs, pieces=pieces)

    return call


class VideoUNet(nn.Module):
    """Network F of the preconditioned denoiser, which predicts v for all frames of one or several videos."""

    def __init__(
        self,
        params: UNetParams,
        *,
        operations=CastingOperations,
        attention: Attention = scaled_dot_product_attention,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.params, self.places = params, params.places()
        factory = {"dtype": dtype, "device": device}
        channels = params.model_channels
        emb_channels = 4 * channels

        def embedding_mlp(width: int) -> nn.Sequential:
            return nn.Sequential(
                operations.Linear(width, emb_channels, **factory),
                nn.SiLU(),
                operations.Linear(emb_channels, emb_channels, **factory),
            )

        def residual(channels: int, out_channels: int) -> VideoResBlock:
            return VideoResBlock(channels, out_channels, emb_channels, operations, **factory)

        def transformer(channels: int) -> SpatialVideoTransformer:
            if channels % params.head_channels:
                raise ValueError(f"{channels} channels can't be split into heads of {params.head_channels}.")
            heads = channels // params.head_channels
            sizes = (channels, params.context_dim, heads, attention, operations, params.frame_positions)
            return SpatialVideoTransformer(*sizes, **factory)

        self.time_embed = embedding_mlp(channels)
        self.label_emb = nn.Sequential(embedding_mlp(params.vector_dim))

        first = operations.Conv2d(params.in_channels, channels, 3, padding=1, **factory)
        down = partial(Downsample, operations=operations, **factory)
        self.input_blocks, skips = _input_blocks(params, first, residual, transformer, down)
        bottom = skips[-1]
        self.middle_block = Stage(residual(bottom, bottom), transformer(bottom), residual(bottom, bottom))
        up = partial(Upsample, operations=operations, **factory)
        self.output_blocks = _output_blocks(params, skips, residual, transformer, up)

        self.out = nn.Sequential(
            operations.GroupNorm(32, channels, **factory),
            nn.SiLU(inplace=True),
            operations.Conv2d(channels, params.out_channels, 3, padding=1, **factory),
        )

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor,
        num_video_frames: int,
        hooks: Hooks = NO_HOOKS,
    ) -> Tensor:
        """Evaluate the UNet once, in the dtype of x.

        x: (B·T, in_channels, h, w), the scaled noisy latents beside the conditioning latent; h and w are
        multiples of 2^(levels−1). timesteps: (B·T,), c_noise = ¼·ln σ. context: (B·T, M, context_dim), the
        CLIP tokens. y: (B·T, vector_dim). hooks change features at the places of the UNet.
        Returns (B·T, out_channels, h, w).
        """
        self._check_inputs(x, timesteps, context, y, num_video_frames)
        constants = self.prepare(context.to(x.dtype), y.to(x.dtype), num_video_frames)
        return self.predict(x, self.shifts(timesteps, constants), constants, hooks)

    def prepare(self, context: Tensor, y: Tensor, num_frames: int) -> RunConstants:
        """Precompute the conditioning of every layer, once for all steps of a run."""
        contexts = tuple(stage.prepare(context, num_frames) for stage in self._stages())
        return RunConstants(self.label_emb(y), contexts, num_frames)

    def shifts(self, timesteps: Tensor, constants: RunConstants) -> StepShifts:
        """Shifts of the residual blocks at a step, from timesteps (B·T,)."""
        step = sinusoidal_embedding(timesteps, self.params.model_channels).to(constants.vector.dtype)
        emb = self.time_embed(step) + constants.vector
        return tuple(stage.shifts(emb) for stage in self._stages())

    def predict(
        self,
        x: Tensor,
        shifts: StepShifts,
        constants: RunConstants,
        hooks: Hooks = NO_HOOKS,
        pieces: Pieces = WHOLE,
    ) -> Tensor:
        """Evaluate the UNet once with results of `shifts` and `prepare`. x and output: as in forward."""
        first = self.first(x)
        # No name and no tuple holds the deep features, so that the last stage can free them.
        return self.last(
            self.deep(first, shifts, constants, hooks, pieces=pieces),
            first,
            shifts,
            constants,
            hooks,
            pieces=pieces,
        )

    def first(self, x: Tensor) -> Tensor:
        """First features, (B·T, model_channels, h, w)."""
        x = x.contiguous(memory_format=kernels.memory_format(x.device))
        return self.input_blocks[0]([x], (), (), 1, NO_HOOKS, self.places[0])

    def deep(
        self,
        first: Tensor,
        shifts: StepShifts,
        constants: RunConstants,
        hooks: Hooks = NO_HOOKS,
        pieces: Pieces = WHOLE,
    ) -> Tensor:
        """Deep features, the input of the last output stage: nearly all of the work, little change a step.

        Features are held by one list only, which a stage empties: it frees them once it has read them.
        """
        kernels.check_videos(first, constants.num_frames)
        features, skips = [first], []
        stages = list(zip(self.places, self._stages(), shifts, constants.contexts, strict=True))
        for place, stage, *conditions in stages[1:-1]:
            if place.part == "output":
                skip = skips.pop()
                features = list(hooks.joined(place, features.pop(), skip.to(first.device, non_blocking=True)))
                del skip
            features.append(stage(features, *conditions, constants.num_frames, hooks, place, pieces))
            if place.part == "input":
                skips.append(
                    features[0] if pieces.skips_on_device else kernels.to_host(features[0], wait=False)
                )
        return features.pop()

    def last(
        self,
        deep: Tensor,
        first: Tensor,
        shifts: StepShifts,
        constants: RunConstants,
        hooks: Hooks = NO_HOOKS,
        pieces: Pieces = WHOLE,
    ) -> Tensor:
        """Run the last output stage on the deep features and the first ones, then the output layers."""
        kernels.check_videos(deep, constants.num_frames)
        place = self.places[-1]
        features = list(hooks.joined(place, deep, first))
        del deep, first
        conditions = (shifts[-1], constants.contexts[-1], constants.num_frames, hooks, place, pieces)
        return self.out(self.output_blocks[-1](features, *conditions))

    def compile_parts(self, **options) -> None:
        """Compile predict, deep and last lazily with torch.compile, for passes at once.

        Passes in pieces stay as written: a compiler would unroll their loops into a graph for each plan.
        """
        for name in ("predict", "deep", "last"):
            plain = getattr(self, name)
            setattr(self, name, _either(plain, torch.compile(plain, **options)))

    def _stages(self) -> list[Stage]:
        """All stages in the order of the work."""
        return [*self.input_blocks, self.middle_block, *self.output_blocks]

    def _check_inputs(
        self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor, num_frames: int
    ) -> None:
        p = self.params
        divisor = 2 ** (len(p.channel_mult) - 1)
        if x.ndim != 4 or x.shape[1] != p.in_channels or x.shape[2] % divisor or x.shape[3] % divisor:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; the UNet takes (frames, {p.in_channels}, h, w) with h and w "
                f"multiples of {divisor}."
            )
        kernels.check_videos(x, num_frames)
        for name, tensor, shape in (
            ("timesteps", timesteps, (x.shape[0],)),
            ("context", context, (x.shape[0], context.shape[1], p.context_dim) if context.ndim == 3 else ()),
            ("y", y, (x.shape[0], p.vector_dim)),
        ):
            if tuple(tensor.shape) != shape:
                expected = shape or ("frames", "tokens", p.context_dim)
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}; for this x it must be {expected}.")
