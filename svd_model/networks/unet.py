"""The spatio-temporal UNet of Stable Video Diffusion. Attribute names are the checkpoint's keys."""

import itertools
import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from . import kernels
from .early_features import EarlyFeatures
from .hooks import NO_HOOKS, Hooks
from .operations import Attention, CastingOperations, scaled_dot_product_attention
from .pieces import WHOLE, Pieces
from .stages import ContractingPath, Layers, RunConstants, Stage, StepShifts, UNetParams

logger = logging.getLogger(__name__)


def _output_blocks(params: UNetParams, layers: Layers) -> nn.ModuleList:
    """Stages on the way up. Each joins the last remaining skip to its input."""
    places = [place for place in params.places() if place.part == "output"]
    blocks, skips = nn.ModuleList(), list(params.skips())
    channels = skips[-1]
    for place, successor in itertools.zip_longest(places, places[1:]):
        stage = [layers.residual(channels + skips.pop(), params.width(place.level))]
        channels = params.width(place.level)
        if place.number is not None:
            stage.append(layers.transformer(channels))
        if successor is not None and successor.level < place.level:
            stage.append(layers.up(channels))
        blocks.append(Stage(*stage))
    return blocks


def _either(plain: Callable[..., Tensor], compiled: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compiled function, which calls the plain one where `pieces` bound the work, or processes share it."""

    def call(*inputs, pieces: Pieces = WHOLE, **shared) -> Tensor:
        exchanges = any(isinstance(each, RunConstants) and each.share for each in inputs)
        if pieces == WHOLE and not exchanges and not any(shared.values()):
            return compiled(*inputs)
        if pieces != WHOLE:
            logger.info("memory is short: the UNet runs in pieces, which are not compiled")
        return plain(*inputs, pieces=pieces, **shared)

    return call


class VideoUNet(ContractingPath):
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
        layers = Layers(params, operations, attention, {"dtype": dtype, "device": device})
        super().__init__(layers)
        self.output_blocks = _output_blocks(params, layers)
        self.out = nn.Sequential(
            operations.GroupNorm(32, params.model_channels, **layers.factory),
            nn.SiLU(inplace=True),
            layers.convolution(params.model_channels, params.out_channels),
        )

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor,
        num_video_frames: int,
        hooks: Hooks = NO_HOOKS,
        camera: Tensor | None = None,
    ) -> Tensor:
        """Evaluate the UNet once, in the dtype of x.

        x: (B·T, in_channels, h, w), the scaled noisy latents beside the conditioning latent; h and w are
        multiples of 2^(levels−1). timesteps: (B·T,), c_noise = ¼·ln σ. context: (B·T, M, context_dim), the
        CLIP tokens. y: (B·T, vector_dim). hooks change features at the places of the UNet. camera:
        (B·T, camera_dim) or None, without which the camera's layers are left out. Returns
        (B·T, out_channels, h, w).
        """
        self.check_inputs(x, timesteps, context, y, num_video_frames, camera)
        camera = None if camera is None else camera.to(x.dtype)
        constants = self.prepare(context.to(x.dtype), y.to(x.dtype), num_video_frames, camera)
        return self.predict(x, self.shifts(timesteps, constants), constants, hooks)

    def predict(
        self,
        x: Tensor,
        shifts: StepShifts,
        constants: RunConstants,
        hooks: Hooks = NO_HOOKS,
        pieces: Pieces = WHOLE,
        early: EarlyFeatures | None = None,
    ) -> Tensor:
        """Evaluate the UNet once with results of `shifts` and `prepare`. x and output: as in forward.

        early: features that evaluations with other hooks share. The first one keeps them, the others begin
        there.
        """
        first = self.first(x)
        # No name and no tuple holds the deep features, so that the last stage can free them.
        return self.last(
            self.deep(first, shifts, constants, hooks, pieces=pieces, early=early),
            first,
            shifts,
            constants,
            hooks,
            pieces=pieces,
        )

    def deep(
        self,
        first: Tensor,
        shifts: StepShifts,
        constants: RunConstants,
        hooks: Hooks = NO_HOOKS,
        pieces: Pieces = WHOLE,
        early: EarlyFeatures | None = None,
    ) -> Tensor:
        """Deep features, the input of the last output stage: nearly all of the work, little change a step.

        early: as of `predict`.
        """
        kernels.check_videos(first, constants.num_frames)
        conditions, end = (shifts, constants, hooks), len(self.places) - 1
        state, start, lent = [first], 1, False
        if early is not None:
            start, lent = early.stage, early.kept
            if lent:
                state = early.begin()
            else:
                state = self.through(state, 1, start, *conditions, pieces=pieces)
                early.keep(state)
        return self.through(state, start, end, *conditions, lent, pieces=pieces).pop()

    def through(
        self,
        state: list[Tensor],
        start: int,
        end: int,
        shifts: StepShifts,
        constants: RunConstants,
        hooks: Hooks = NO_HOOKS,
        lent: bool = False,
        pieces: Pieces = WHOLE,
    ) -> list[Tensor]:
        """Run the stages from one number up to another, the last one not included.

        state: the skips of later stages, and last the features; it is emptied, and returned with those after
        the stages. Nothing holds features beside it, so that a stage frees them once it has read them. lent:
        whether others need the skips too.
        """
        stages = list(zip(self.places, self._stages(), shifts, constants.contexts, strict=True))
        for place, stage, *conditions in stages[start:end]:
            parts = [state.pop()]
            if place.part == "output":
                skip = state.pop().to(parts[0].device, non_blocking=True, copy=lent)
                skip = hooks.skip(place, skip)
                parts = list(hooks.joined(place, parts.pop(), skip))
                del skip
            shared = (constants.num_frames, hooks, place, pieces, constants.share)
            state.append(stage(parts, *conditions, *shared))
            if place.part == "middle":
                state.append(hooks.skip(place, state.pop()))
            elif place.part == "input":
                on_device = pieces.skips_on_device
                state.insert(-1, state[-1] if on_device else kernels.to_host(state[-1], wait=False))
        return state

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
        features = list(hooks.joined(place, deep, hooks.skip(place, first)))
        del deep, first
        conditions = (shifts[-1], constants.contexts[-1], constants.num_frames, hooks, place, pieces)
        return self.out(self.output_blocks[-1](features, *conditions, constants.share))

    def compile_parts(self, **options) -> None:
        """Compile predict, deep, through and last lazily with torch.compile, for passes at once.

        Passes in pieces stay as written: a compiler would unroll their loops into a graph for each plan.
        """
        for name in ("predict", "deep", "through", "last"):
            plain = getattr(self, name)
            setattr(self, name, _either(plain, torch.compile(plain, **options)))

    def _stages(self) -> list[Stage]:
        """All stages in the order of the work."""
        return [*super()._stages(), *self.output_blocks]
