"""The temporal ControlNet: a UNet's contracting path that sees a control picture beside each frame.

What it gives is added to the features that the UNet's output stages join as skips, and to the middle's. The
names of the layers that it has beyond the UNet's are diffusers'.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import kernels
from .hooks import NO_HOOKS, Hooks, Place
from .operations import Attention, CastingOperations, scaled_dot_product_attention
from .pieces import WHOLE, Pieces
from .stages import ContractingPath, Layers, RunConstants, StepShifts, UNetParams

EMBEDDING_WIDTHS = (16, 32, 96, 256)
"""Channels of a control picture at each of its sizes, halved from the clip's to the latent's."""

PIXELS = 2 ** (len(EMBEDDING_WIDTHS) - 1)
"""Pixels of a control picture to one of the latent, along each side."""


class Residuals(NamedTuple):
    """What a control network gives at an evaluation."""

    skips: tuple[Tensor, ...]  # (B·T, C, H, W), in the order of the input stages
    middle: Tensor


class ControlEmbedding(nn.Module):
    """Convolutions that bring control pictures to the size of the latents."""

    def __init__(self, channels: int, operations, **factory):
        super().__init__()

        def convolution(channels: int, out_channels: int, stride: int = 1) -> nn.Module:
            return operations.Conv2d(channels, out_channels, 3, stride=stride, padding=1, **factory)

        self.conv_in = convolution(3, EMBEDDING_WIDTHS[0])
        self.blocks = nn.ModuleList()
        for width, wider in itertools.pairwise(EMBEDDING_WIDTHS):
            self.blocks += [convolution(width, width), convolution(width, wider, stride=2)]
        self.conv_out = convolution(EMBEDDING_WIDTHS[-1], channels)

    def forward(self, pictures: Tensor) -> Tensor:
        """Embed pictures: (N, 3, 8h, 8w) -> (N, channels, h, w)."""
        x = functional.silu(self.conv_in(pictures))
        for block in self.blocks:
            x = functional.silu(block(x))
        return self.conv_out(x)


class ControlNet(ContractingPath):
    """Control network of a UNet of these sizes."""

    def __init__(
        self,
        params: UNetParams,
        *,
        operations=CastingOperations,
        attention: Attention = scaled_dot_product_attention,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        factory = {"dtype": dtype, "device": device}
        super().__init__(Layers(params, operations, attention, factory))
        widths = params.skips()
        self.controlnet_cond_embedding = ControlEmbedding(params.model_channels, operations, **factory)
        self.controlnet_down_blocks = nn.ModuleList(
            operations.Conv2d(width, width, 1, **factory) for width in widths
        )
        self.controlnet_mid_block = operations.Conv2d(widths[-1], widths[-1], 1, **factory)

    def embed(self, pictures: Tensor) -> Tensor:
        """Embed control pictures: (T, 3, 8h, 8w) in [−1, 1] -> (T, model_channels, h, w).

        The embedding depends on no noise level, and serves all evaluations of a run.
        """
        memory_format = kernels.memory_format(pictures.device)
        return self.controlnet_cond_embedding(pictures.contiguous(memory_format=memory_format))

    def residuals(
        self,
        x: Tensor,
        shifts: StepShifts,
        constants: RunConstants,
        embedding: Tensor,
        pieces: Pieces = WHOLE,
    ) -> Residuals:
        """Evaluate the network once, with results of `shifts`, `prepare` and `embed`.

        x: input of the UNet, (B·T, in_channels, h, w). embedding: (T or B·T, model_channels, h, w).
        """
        first, stages = self.first(x), self._stages()
        first.unflatten(0, (-1, len(embedding))).add_(embedding)
        features, residuals = [first], [self.controlnet_down_blocks[0](first)]
        del first  # so that the first stage can free it
        layers = [*self.controlnet_down_blocks, self.controlnet_mid_block]
        path = zip(self.places[: len(stages)], stages, shifts, constants.contexts, layers, strict=True)
        for place, stage, *conditions, layer in list(path)[1:]:
            features.append(stage(features, *conditions, constants.num_frames, NO_HOOKS, place, pieces))
            residuals.append(layer(features[0]))
        return Residuals(tuple(residuals[:-1]), residuals[-1])


def author_weights(params: UNetParams) -> tuple[float, ...]:
    """Weights of the skips in the author's UNet, in training too: 4, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1.

    It adds all residuals so far after each level, whose last stage is the one that halves the features.
    """
    levels, stages = len(params.channel_mult), params.num_res_blocks + 1
    return tuple(float(levels - max(0, skip - 1) // stages) for skip in range(levels * stages))


def equal_weights(params: UNetParams) -> tuple[float, ...]:
    """Weights of the skips where each counts once, as ComfyUI and its packs add them."""
    return (1.0,) * len(params.skips())


WEIGHTINGS = {"author": author_weights, "once": equal_weights}
"""Functions that weigh the residuals of a control network; the middle's has the weight 1 in each."""


class ControlHooks(Hooks):
    """Hooks of one evaluation, which add weighted residuals of a control network."""

    def __init__(self, residuals: Residuals, weights: Sequence[float], strength: float):
        self._residuals, self._weights, self._strength = residuals, weights, strength

    def skip(self, place: Place, x: Tensor) -> Tensor:
        """Features with the residual of their place added, in their own memory."""
        if place.part == "middle":
            return x.add_(self._residuals.middle, alpha=self._strength)
        number = len(self._weights) - 1 - place.index  # output stages join the last skip first
        return x.add_(self._residuals.skips[number], alpha=self._weights[number] * self._strength)
