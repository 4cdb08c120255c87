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

Inputs = dict[nn.Module, Tensor]
"""Input of each block for the frame before, (1, C, H, W)."""


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

    With memory the first convolution sees each frame's input beside that of the frame before, zeros before
    the first.
    """

    def __init__(self, channels: int, memory: bool, operations, **factory):
        super().__init__()
        self.memory = memory
        widths = (2 * channels if memory else channels, channels, channels)
        first, second, third = (
            operations.Conv2d(width, channels, 3, padding=1, **factory) for width in widths
        )
        self.conv = nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True), third)

    def forward(self, x: Tensor, inputs: Inputs) -> Tensor:
        hidden = self.conv(self._beside_the_frame_before(x, inputs) if self.memory else x)
        return functional.relu(hidden.add_(x), inplace=True)

    def _beside_the_frame_before(self, x: Tensor, inputs: Inputs) -> Tensor:
        earlier = inputs.get(self)
        if earlier is None:
            earlier = torch.zeros_like(x[:1])
        inputs[self] = x[-1:].clone()  # no view: it would keep the whole group
        return torch.cat([x, torch.cat([earlier, x[:-1]])], dim=1)  # (T, C, H, W) -> (T, 2·C, H, W)


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

    def forward(self, z: Tensor, inputs: Inputs | None = None) -> Tensor:
        """Decodes frames of a video; `inputs` are the blocks' for the frame before, and are replaced."""
        inputs = {} if inputs is None else inputs
        x = z.contiguous(memory_format=kernels.memory_format(z.device))
        for layer in self:
            x = layer(x, inputs) if isinstance(layer, Block) else layer(x)
        return x

    def in_groups(self, z: Tensor, at_once: int) -> Iterator[Tensor]:
        """Decodes a video of any length, `at_once` frames at a time; gives each group's pictures."""
        inputs: Inputs = {}
        for group in z.split(at_once):
            yield self(group, inputs)
