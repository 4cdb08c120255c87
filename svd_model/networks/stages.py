"""Stages of a UNet, and its contracting path: the way down and the middle, which a ControlNet repeats."""

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from . import kernels
from .embedding import sinusoidal_embedding
from .hooks import NO_HOOKS, Hooks, Place
from .operations import Attention
from .pieces import WHOLE, Pieces
from .references import References
from .resampling import Downsample, Upsample
from .residual import TimeShifts, VideoResBlock
from .sharing import FrameShare
from .transformer import SpatialVideoTransformer, TransformerContext

LETTERS = {"input": "d", "middle": "m", "output": "u"}
"""First letters of the names of stages with attention, by their parts: down, middle and up."""


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
    camera_dim: int = 0  # numbers of a frame's camera, beside its tokens; MotionCtrl has 12
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
        numbers, numbers_in_part = itertools.count(), defaultdict(itertools.count)

        def attends(part: str, index: int, level: int) -> bool:
            residual = part != "input" or index % stages > 0
            return part == "middle" or (residual and level < self.attention_levels)

        def transformer(part: str, index: int, level: int) -> tuple[int | None, str | None]:
            if not attends(part, index, level):
                return None, None
            return next(numbers), f"{LETTERS[part]}{next(numbers_in_part[part])}"

        layout = (*down, ("middle", 0, bottom), *up)
        return tuple(Place(*stage, *transformer(*stage)) for stage in layout)

    @property
    def attention_names(self) -> tuple[str, ...]:
        """Names of the stages with attention, in the order of the work: d0 and on, m0, u0 and on."""
        return tuple(place.name for place in self.places() if place.name is not None)

    def width(self, level: int) -> int:
        """Channels of the features at a level."""
        return self.channel_mult[level] * self.model_channels

    def skips(self) -> tuple[int, ...]:
        """Channels of each input stage's output, which an output stage joins as a skip."""
        levels = [place.level for place in self.places() if place.part == "input"]
        # A stage that halves the features keeps the channels of its predecessor, which is a level above it.
        return (self.model_channels, *(self.width(above) for above in levels[:-1]))


class RunConstants(NamedTuple):
    """Conditioning of a sampling run, computed once for all of its steps."""

    vector: Tensor  # embedded, (B·T, E)
    contexts: tuple[tuple[TransformerContext, ...], ...]  # by stage, then by transformer
    num_frames: int
    share: FrameShare | None = None  # of the frames, where other processes have the others

    def shared(self, share: FrameShare) -> "RunConstants":
        """Those of a process's own frames, from those of all."""
        contexts = tuple(tuple(context.shared(share) for context in stage) for stage in self.contexts)
        return RunConstants(share.rows(self.vector), contexts, share.num_frames, share)


StepShifts = tuple[tuple[TimeShifts, ...], ...]
"""Shifts of a step for a whole UNet, by stage, then by residual block."""


class Stage(nn.Sequential):
    """Layers in a row, each called with its own conditioning."""

    def prepare(
        self,
        context: Tensor,
        num_frames: int,
        camera: Tensor | None,
        positions: Tensor | None,
        references: References | None,
    ) -> tuple[TransformerContext, ...]:
        """Contexts of the stage's transformers, in order; references: with shares of their features."""
        transformers = (layer for layer in self if isinstance(layer, SpatialVideoTransformer))
        inputs = (context, num_frames, camera, positions, references)
        return tuple(layer.prepare(*inputs) for layer in transformers)

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
        share: FrameShare | None = None,
    ) -> Tensor:
        """Run the layers on features, joined from parts (B·T, C_i, H, W). The list is emptied.

        share: of the frames, which then are the process's own.
        """
        next_shifts, next_context = iter(shifts), iter(contexts)
        for layer in self:
            if isinstance(layer, VideoResBlock):
                parts.append(layer(parts, next(next_shifts), num_frames, pieces, share))
            elif isinstance(layer, SpatialVideoTransformer):
                parts.append(layer(parts.pop(), next(next_context), hooks, place, pieces, share))
            elif isinstance(layer, Upsample):
                parts.append(layer(parts.pop(), pieces))
            else:
                parts.append(layer(parts.pop()))
        return parts.pop()


@dataclass(frozen=True)
class Layers:
    """Layers of a UNet in its sizes, made with the caller's operations and attention."""

    params: UNetParams
    operations: type
    attention: Attention
    factory: dict  # dtype and device

    @property
    def emb_channels(self) -> int:
        """Width of the embedded timestep."""
        return 4 * self.params.model_channels

    def embedding(self, width: int) -> nn.Sequential:
        """Two linear layers that embed a vector of a width."""
        return nn.Sequential(
            self.operations.Linear(width, self.emb_channels, **self.factory),
            nn.SiLU(),
            self.operations.Linear(self.emb_channels, self.emb_channels, **self.factory),
        )

    def convolution(self, channels: int, out_channels: int) -> nn.Module:
        """Convolution at either end, over 3×3 positions."""
        return self.operations.Conv2d(channels, out_channels, 3, padding=1, **self.factory)

    def residual(self, channels: int, out_channels: int) -> VideoResBlock:
        """Residual block over space, then time."""
        return VideoResBlock(channels, out_channels, self.emb_channels, self.operations, **self.factory)

    def transformer(self, channels: int) -> SpatialVideoTransformer:
        """Transformer over space, then time."""
        params = self.params
        if channels % params.head_channels:
            raise ValueError(f"{channels} channels can't be split into heads of {params.head_channels}.")
        heads = channels // params.head_channels
        layer = (channels, params.context_dim, heads, self.attention, self.operations)
        extras = {"camera_dim": params.camera_dim, "positions": params.frame_positions}
        return SpatialVideoTransformer(*layer, **extras, **self.factory)

    def down(self, channels: int) -> Downsample:
        """Layer that halves height and width."""
        return Downsample(channels, self.operations, **self.factory)

    def up(self, channels: int) -> Upsample:
        """Layer that doubles height and width."""
        return Upsample(channels, self.operations, **self.factory)


def _input_blocks(params: UNetParams, layers: Layers) -> nn.ModuleList:
    """Stages on the way down, whose outputs the way up joins as skips."""
    places = [place for place in params.places() if place.part == "input"]
    blocks = nn.ModuleList([Stage(layers.convolution(params.in_channels, params.model_channels))])
    steps = zip(itertools.pairwise(places), itertools.pairwise(params.skips()), strict=True)
    for (predecessor, place), (channels, width) in steps:
        down = place.level > predecessor.level
        stage = [layers.down(channels) if down else layers.residual(channels, width)]
        if place.number is not None:
            stage.append(layers.transformer(width))
        blocks.append(Stage(*stage))
    return blocks


class ContractingPath(nn.Module):
    """Embeddings, input stages and middle stage of a UNet; attribute names are the checkpoint's keys."""

    def __init__(self, layers: Layers):
        super().__init__()
        params = self.params = layers.params
        self.places = params.places()
        self.time_embed = layers.embedding(params.model_channels)
        self.label_emb = nn.Sequential(layers.embedding(params.vector_dim))
        self.input_blocks = _input_blocks(params, layers)
        bottom = params.skips()[-1]
        self.middle_block = Stage(
            layers.residual(bottom, bottom), layers.transformer(bottom), layers.residual(bottom, bottom)
        )

    def prepare(
        self,
        context: Tensor,
        y: Tensor,
        num_frames: int,
        camera: Tensor | None = None,
        positions: Tensor | None = None,
        references: References | None = None,
    ) -> RunConstants:
        """Precompute the conditioning of every layer, once for all steps of a run.

        positions: numbers of the frames, (T,), in place of 0, 1, 2 and so on. references: beside a context
        of one token, with shares of the latents' places.
        """
        inputs = (context, num_frames, camera, positions)
        stages = zip(self._stages(), self.places, strict=False)  # a ControlNet has the first ones alone
        contexts = tuple(
            stage.prepare(*inputs, None if references is None else references.at_level(place.level))
            for stage, place in stages
        )
        return RunConstants(self.label_emb(y), contexts, num_frames)

    def shifts(self, timesteps: Tensor, constants: RunConstants) -> StepShifts:
        """Shifts of the residual blocks at a step, from timesteps (B·T,)."""
        step = sinusoidal_embedding(timesteps, self.params.model_channels).to(constants.vector.dtype)
        emb = self.time_embed(step) + constants.vector
        return tuple(stage.shifts(emb) for stage in self._stages())

    def first(self, x: Tensor) -> Tensor:
        """First features, (B·T, model_channels, h, w)."""
        x = x.contiguous(memory_format=kernels.memory_format(x.device))
        return self.input_blocks[0]([x], (), (), 1, NO_HOOKS, self.places[0])

    def check_inputs(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor,
        num_frames: int,
        camera: Tensor | None = None,
    ) -> None:
        """Raise ValueError unless the inputs of a call have the shapes that VideoUNet.forward names."""
        p = self.params
        divisor = 2 ** (len(p.channel_mult) - 1)
        if x.ndim != 4 or x.shape[1] != p.in_channels or x.shape[2] % divisor or x.shape[3] % divisor:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; the UNet takes (frames, {p.in_channels}, h, w) with h and w "
                f"multiples of {divisor}."
            )
        kernels.check_videos(x, num_frames)
        if camera is not None and not p.camera_dim:
            raise ValueError("a camera came, and this UNet has no layers for one; leave it out.")
        for name, tensor, shape in (
            ("timesteps", timesteps, (x.shape[0],)),
            ("context", context, (x.shape[0], context.shape[1], p.context_dim) if context.ndim == 3 else ()),
            ("y", y, (x.shape[0], p.vector_dim)),
            ("camera", camera, (x.shape[0], p.camera_dim)),
        ):
            if tensor is not None and tuple(tensor.shape) != shape:
                expected = shape or ("frames", "tokens", p.context_dim)
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}; for this x it must be {expected}.")

    def _stages(self) -> list[Stage]:
        """All stages in the order of the work."""
        return [*self.input_blocks, self.middle_block]
