"""TAESD and TAESDV: small decoders of Stable Diffusion's latents, for previews.

Places in the sequence are the checkpoint's keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import kernels
from .operations import CastingOperations

SCALE = 8
"""Pixels of a frame per pixel of its latent, along each side."""

_BLOCKS = (3, 3, 3, 1)  # at 1, 2, 4 and 8 times the size of the latent

Memory = dict[nn.Module, Tensor]
"""Contribution of the frame before to each block's first convolution, (1, C, H, W)."""


@dataclass(frozen=True)
class SmallDecoderParams:
    """Sizes of a small decoder, and whether its blocks look at the frame before (TAESDV)."""

    channels: int = 64
    latent_channels: int = 4
    memory: bool = False


class Clamp(nn.Module):
    """Soft limit of latents to ±3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    """Residual block of three 3×3 convolutions: (T, C, H, W) -> (T, C, H, W).

    With memory the first convolution sees each frame's input beside the input of the frame before; before the
    first frame they are zeros.
    """

    def __init__(self, channels: int, memory: bool, operations, **factory):
        super().__init__()
        self.memory = memory
        widths = (2 * channels if memory else channels, channels, channels)
        first, second, third = (
            operations.Conv2d(width, channels, 3, padding=1, **factory) for width in widths
        )
        self.conv = nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True), third)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        first, *others = self.conv
        hidden = self._first(x, memory) if self.memory else first(x)
        for layer in others:
            hidden = layer(hidden)
        return functional.relu(hidden.add_(x), inplace=True)

    def _first(self, x: Tensor, memory: Memory) -> Tensor:
        """The first convolution by halves of its weights, which is twice as fast as joining its inputs."""
        hidden, later = self.conv[0].compute(x, _halves)
        hidden[1:] += later[:-1]
        if self in memory:
            hidden[:1] += memory[self]
        memory[self] = later[-1:].clone()  # no view: it would keep the whole group
        return hidden


def _halves(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """What a frame's input adds to its own convolution, with the bias, and to the next frame's."""
    own, next_frames = weight.chunk(2, dim=1)  # (C, 2·C, 3, 3) -> (C, C, 3, 3) each
    return kernels.conv2d(x, own, bias, padding=1), kernels.conv2d(x, next_frames, None, padding=1)


class SmallDecoder(nn.Sequential):
    """Decoder of one video's latents, (T, 4, h, w) in the diffusion model's scale -> (T, 3, 8h, 8w).

    Pictures lie in [0, 1], or a little beyond.
    """

    def __init__(
        self,
        params: SmallDecoderParams,
        *,
        operations=CastingOperations,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        factory = {"dtype": dtype, "device": device}
        channels = params.channels

        def conv(channels_in: int, channels_out: int, bias: bool = True) -> nn.Module:
            return operations.Conv2d(channels_in, channels_out, 3, padding=1, bias=bias, **factory)

        layers = [Clamp(), conv(params.latent_channels, channels), nn.ReLU(inplace=True)]
        for level, count in enumerate(_BLOCKS):
            if level > 0:
                layers += [nn.Upsample(scale_factor=2), conv(channels, channels, bias=False)]
            layers += [Block(channels, params.memory, operations, **factory) for _ in range(count)]
        super().__init__(*layers, conv(channels, 3))
        self.params = params

    def forward(self, z: Tensor, memory: Memory | None = None) -> Tensor:
        """Decodes frames of a video; `memory` is of the frame before them, and then of the last one."""
        memory = {} if memory is None else memory
        x = z.contiguous(memory_format=kernels.memory_format(z.device))
        for layer in self:
            x = layer(x, memory) if isinstance(layer, Block) else layer(x)
        return x

    def in_groups(self, z: Tensor, at_once: int) -> Iterator[Tensor]:
        """Decodes a video of any length, `at_once` frames at a time; gives each group's pictures."""
        memory: Memory = {}
        for group in z.split(at_once):
            yield self(group, memory)
