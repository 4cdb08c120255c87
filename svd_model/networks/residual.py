"""Residual blocks of the UNet: one on each frame, then one over time, mixed.

Section D of the Stable Video Diffusion paper (Blattmann et al., 2023), after Blattmann et al., "Align your
Latents" (2023). Attribute names are the checkpoint's keys.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor, nn

from . import kernels, planes
from .embedding import mix_weight
from .transformer import Mixer


class TimeShifts(NamedTuple):
    """Projected embeddings of one or several steps, which a VideoResBlock adds to its features."""

    spatial: Tensor  # (B·T, C)
    temporal: Tensor


class ResBlock(nn.Module):
    """Residual block: two convolutions, with the projected embedding added in between."""

    def __init__(
        self,
        conv: Callable[..., nn.Module],
        channels: int,
        out_channels: int,
        emb_channels: int,
        operations,
        **factory,
    ):
        super().__init__()
        self.in_layers = nn.Sequential(
            operations.GroupNorm(32, channels, **factory), nn.SiLU(inplace=True), conv(channels, out_channels)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), operations.Linear(emb_channels, out_channels, **factory))
        # The reference has a dropout at index 2: the checkpoint's keys are out_layers.0 and out_layers.3.
        self.out_layers = nn.Sequential(
            operations.GroupNorm(32, out_channels, **factory),
            nn.SiLU(inplace=True),
            nn.Identity(),
            conv(out_channels, out_channels),
        )

    def residual(self, x: Tensor, shift: Tensor) -> Tensor:
        """Change to x, in the shape of x with C' channels; shift broadcasts to it."""
        return self._convolve(self.out_layers, self._convolve(self.in_layers, x).add_(shift))

    @staticmethod
    def _convolve(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
        """Run x through layers that end in a convolution; for a 3×1×1 one x is (B, C, T, S)."""
        *first, conv = layers
        for layer in first:
            x = layer(x)
        if not isinstance(conv, nn.Conv3d):
            return conv(x)
        return conv.compute(x, kernels.over_time) if conv.takes_kernels else conv(x[..., None])[..., 0]

    def _computed_layers(self) -> list[nn.Module]:
        """Norms and convolutions, the layers that planes compute."""
        return [layers[index] for layers in (self.in_layers, self.out_layers) for index in (0, -1)]


class VideoResBlock(ResBlock):
    """Residual block on each frame, then one over time (3×1×1), mixed: α·spatial + (1−α)·temporal."""

    def __init__(self, channels: int, out_channels: int, emb_channels: int, operations, **factory):
        def spatial(c_in: int, c_out: int) -> nn.Module:
            return operations.Conv2d(c_in, c_out, 3, padding=1, **factory)

        def temporal(c_in: int, c_out: int) -> nn.Module:
            return operations.Conv3d(c_in, c_out, (3, 1, 1), padding=(1, 0, 0), **factory)

        super().__init__(spatial, channels, out_channels, emb_channels, operations, **factory)
        if channels == out_channels:
            self.skip_connection = nn.Identity()
        else:
            self.skip_connection = operations.Conv2d(channels, out_channels, 1, **factory)
        self.time_stack = ResBlock(temporal, out_channels, out_channels, emb_channels, operations, **factory)
        self.time_mixer = Mixer(**factory)

    def shifts(self, emb: Tensor) -> TimeShifts:
        """Shifts of this block, projected from an embedding (N, E)."""
        return TimeShifts(self.emb_layers(emb), self.time_stack.emb_layers(emb))

    def forward(self, x: Tensor, shifts: TimeShifts, num_frames: int) -> Tensor:
        """Run the block: (B·T, C, H, W) -> (B·T, C', H, W)."""
        if planes.used(x) and self._takes_planes():
            return self._in_planes(x, shifts, num_frames)
        size = x.shape[2:]
        spatial = shifts.spatial[..., None, None]
        x = self.residual(x, spatial).add_(self.skip_connection(x))
        video = x.unflatten(0, (-1, num_frames)).transpose(1, 2).flatten(3)  # -> (B, C, T, H·W)
        temporal = shifts.temporal.unflatten(0, (-1, num_frames)).transpose(1, 2)[..., None]
        mixed = self.time_mixer.add(video, self.time_stack.residual(video, temporal))
        return mixed.transpose(1, 2).flatten(0, 1).unflatten(2, size)  # -> (B·T, C, H, W)

    def _takes_planes(self) -> bool:
        layers = [*self._computed_layers(), *self.time_stack._computed_layers()]
        if isinstance(self.skip_connection, nn.Conv2d):
            layers.append(self.skip_connection)
        return all(layer.takes_kernels for layer in layers)

    def _in_planes(self, x: Tensor, shifts: TimeShifts, num_frames: int) -> Tensor:
        """Run the block in planes. An offset gathers biases and shifts, and is added once, at the end."""
        size = x.shape[2:]
        norm, silu, conv = self.in_layers
        hidden, offset = conv.compute(silu(norm(x)), *_conv2d_of(conv), shifts.spatial)
        norm, silu, _, conv = self.out_layers
        hidden = silu(_normalised(norm, hidden.flatten(2), offset, 1)).unflatten(2, size)
        change, offset = conv.compute(hidden, *_conv2d_of(conv))
        if isinstance(self.skip_connection, nn.Conv2d):
            x, more = self.skip_connection.compute(x, *_conv2d_of(self.skip_connection))
            offset = offset + more
        x = change.add_(x).flatten(2)

        norm, _, conv = self.time_stack.in_layers
        hidden = planes.silu_between_zeros(_normalised(norm, x, offset[None], num_frames), num_frames)
        hidden, between = conv.compute(hidden, planes.over_time, shifts.temporal)
        norm, _, _, conv = self.time_stack.out_layers
        hidden = planes.silu_between_zeros(_normalised(norm, hidden, between, num_frames), num_frames)
        part = 1 - mix_weight(self.time_mixer.mix_factor, x)
        offset = offset + conv.compute(hidden, planes.add_over_time, x, part)
        return x.add_(offset[:, None]).unflatten(2, size)


def _conv2d_of(conv: nn.Conv2d) -> tuple:
    """Kernel of a convolution without its bias, and the kernel's options."""
    return planes.conv2d, conv.stride, conv.padding


def _normalised(norm: nn.GroupNorm, x: Tensor, offset: Tensor, num_frames: int) -> Tensor:
    return norm.compute(x, planes.group_norm, norm.num_groups, norm.eps, offset, num_frames)
