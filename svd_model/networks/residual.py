"""Residual blocks of the UNet: one on each frame, then one over time, mixed.

Section D of the Stable Video Diffusion paper (Blattmann et al., 2023), after Blattmann et al., "Align your
Latents" (2023). Attribute names are the checkpoint's keys.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import kernels, planes
from .mixing import Mixer, mix_weight
from .pieces import WHOLE, Pieces
from .sharing import FrameShare


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

    def forward(
        self,
        parts: list[Tensor],
        shifts: TimeShifts,
        num_frames: int,
        pieces: Pieces = WHOLE,
        share: FrameShare | None = None,
    ) -> Tensor:
        """Run the block: features (B·T, C, H, W), joined from parts along C, -> (B·T, C', H, W).

        The list is emptied, so that features that nobody holds are free before the part over time. share: of
        the frames, which then are the process's own.
        """
        size, in_planes = parts[0].shape[2:], planes.used(parts[0]) and self._takes_planes()
        x, offset = self._over_frames(parts, shifts.spatial, in_planes, pieces)
        parts.clear()
        if in_planes:
            inputs = (x.flatten(2), offset, shifts.temporal, num_frames, pieces)
            if share is not None:
                return self._over_time_shared_in_planes(*inputs, share).unflatten(2, size)
            return self._over_time_in_planes(*inputs).unflatten(2, size)
        video = x.unflatten(0, (-1, num_frames)).transpose(1, 2).flatten(3)  # -> (B, C, T, H·W)
        del x
        temporal = shifts.temporal.unflatten(0, (-1, num_frames)).transpose(1, 2)[..., None]
        if share is None:
            mixed = self._over_time(video, temporal, pieces)
        else:
            mixed = self._over_time_shared(video, temporal, pieces, share)
        return mixed.transpose(1, 2).flatten(0, 1).unflatten(2, size)  # -> (B·T, C', H, W)

    def _over_frames(
        self, parts: list[Tensor], shift: Tensor, in_planes: bool, pieces: Pieces
    ) -> tuple[Tensor, Tensor | None]:
        """Run the block on each frame: (B·T, C', H, W), and in planes an offset (C',) still to be added."""
        compute = self._spatial_in_planes if in_planes else self._spatial
        widths, out_channels = [part.shape[1] for part in parts], shift.shape[1]
        frame = parts[0][0, 0].numel() * parts[0].dtype.itemsize
        each = frame * spatial_channels(widths, out_channels, in_planes)
        if pieces.hold(len(shift) * each):
            return compute(_joined(parts), shift)
        result = kernels.empty((len(shift), out_channels, *parts[0].shape[2:]), parts[0])
        for rows in pieces.groups(len(shift), each):
            result[rows], offset = compute(_joined([part[rows] for part in parts]), shift[rows])
        return result, offset

    def _spatial(self, x: Tensor, shift: Tensor) -> tuple[Tensor, None]:
        return self.residual(x, shift[..., None, None]).add_(self.skip_connection(x)), None

    def _over_time(self, video: Tensor, shift: Tensor, pieces: Pieces) -> Tensor:
        """Run the block over time: (B, C', T, S), in and out, with shift (B, C', T, 1)."""
        layers = self.time_stack
        size = video.numel() * video.dtype.itemsize
        if pieces.hold(OVER_TIME * size) or not all(each.takes_kernels for each in layers._computed_layers()):
            return self.time_mixer.add(video, layers.residual(video, shift))
        hidden = torch.empty_like(video)
        each = size // video.shape[3] * over_time_units(video.shape[2], video.dtype, False)
        norm, silu, conv = layers.in_layers
        scales = _scales(norm, video)
        for positions in pieces.groups(video.shape[3], each):
            change = layers._convolve((silu, conv), _scaled(video[..., positions], *scales))
            hidden[..., positions] = change.add_(shift)
            del change  # before the next one
        norm, silu, _, conv = layers.out_layers
        scales = _scales(norm, hidden)
        for positions in pieces.groups(video.shape[3], each):
            change = layers._convolve((silu, conv), _scaled(hidden[..., positions], *scales))
            self.time_mixer.add_to(video[..., positions], change)
            del change
        return video

    def _over_time_shared(self, video: Tensor, shift: Tensor, pieces: Pieces, share: FrameShare) -> Tensor:
        """Run the block over time on own frames: (B, C', t, S), in and out, with shift (B, C', t, 1)."""
        layers = self.time_stack
        hidden = torch.empty_like(video)
        norm, _, conv = layers.in_layers
        for positions, padded in _between_neighbours(norm, video, pieces, share):
            hidden[..., positions] = conv.compute(padded, kernels.over_time, 0).add_(shift)
        norm, _, _, conv = layers.out_layers
        for positions, padded in _between_neighbours(norm, hidden, pieces, share):
            self.time_mixer.add_to(video[..., positions], conv.compute(padded, kernels.over_time, 0))
        return video

    def _takes_planes(self) -> bool:
        layers = [*self._computed_layers(), *self.time_stack._computed_layers()]
        if isinstance(self.skip_connection, nn.Conv2d):
            layers.append(self.skip_connection)
        return all(layer.takes_kernels for layer in layers)

    def _spatial_in_planes(self, x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Run the block on frames in planes. An offset gathers biases, and is added once, at the end."""
        size = x.shape[2:]
        norm, silu, conv = self.in_layers
        hidden, offset = conv.compute(silu(norm(x)), *_conv2d_of(conv), shift)
        norm, silu, _, conv = self.out_layers
        hidden = silu(_normalised(norm, hidden.flatten(2), offset, 1)).unflatten(2, size)
        change, offset = conv.compute(hidden, *_conv2d_of(conv))
        if isinstance(self.skip_connection, nn.Conv2d):
            x, more = self.skip_connection.compute(x, *_conv2d_of(self.skip_connection))
            offset = offset + more
        return change.add_(x), offset

    def _over_time_in_planes(
        self, x: Tensor, offset: Tensor, shift: Tensor, num_frames: int, pieces: Pieces
    ) -> Tensor:
        """Run the block over time in planes: x + offset, (B·T, C', L) and (C',) -> (B·T, C', L).

        x is written over. In pieces only a result of the first convolution exists for all positions.
        """
        part = 1 - mix_weight(self.time_mixer.mix_factor, x)
        size = x.numel() * x.dtype.itemsize
        first, _, conv = self.time_stack.in_layers
        second, _, _, last = self.time_stack.out_layers
        each = round(size // x.shape[2] * over_time_units(num_frames, x.dtype, True))  # bytes of a position
        if pieces.hold(each * x.shape[2]):
            hidden = _padded(first, x, offset[None], num_frames)
            hidden, between = conv.compute(hidden, planes.over_time, shift)
            hidden = _normalised(second, hidden, between, num_frames)
            hidden = planes.silu_between_zeros(hidden, num_frames)
            return x.add_((offset + last.compute(hidden, planes.add_over_time, x, part))[:, None])
        hidden = torch.empty_like(x)
        moments = planes.group_moments(x, first.num_groups, offset[None], num_frames)
        for positions in pieces.groups(x.shape[2], each):
            inputs = x[..., positions], offset[None], num_frames, moments
            hidden[..., positions], between = conv.compute(_padded(first, *inputs), planes.over_time, shift)
        moments = planes.group_moments(hidden, second.num_groups, between, num_frames)
        for positions in pieces.groups(x.shape[2], each):
            inputs = hidden[..., positions], between, num_frames, moments
            more = last.compute(_padded(second, *inputs), planes.add_over_time, x[..., positions], part)
        return x.add_((offset + more)[:, None])

    def _over_time_shared_in_planes(
        self, x: Tensor, offset: Tensor, shift: Tensor, num_frames: int, pieces: Pieces, share: FrameShare
    ) -> Tensor:
        """Run the block over time on own frames in planes, as `_over_time_in_planes` does on all."""
        part = 1 - mix_weight(self.time_mixer.mix_factor, x)
        hidden = torch.empty_like(x)
        norm, _, conv = self.time_stack.in_layers
        for positions, padded in _padded_by_neighbours(norm, x, offset[None], num_frames, pieces, share):
            hidden[..., positions], between = conv.compute(padded, planes.over_time, shift)
        norm, _, _, conv = self.time_stack.out_layers
        for positions, padded in _padded_by_neighbours(norm, hidden, between, num_frames, pieces, share):
            more = conv.compute(padded, planes.add_over_time, x[..., positions], part)
        return x.add_((offset + more)[:, None])


def _conv2d_of(conv: nn.Conv2d) -> tuple:
    """Kernel of a convolution without its bias, and the kernel's options."""
    return planes.conv2d, conv.stride, conv.padding


def _normalised(norm: nn.GroupNorm, x: Tensor, offset: Tensor, num_frames: int, moments=None) -> Tensor:
    return norm.compute(x, planes.group_norm, norm.num_groups, norm.eps, offset, num_frames, moments)


def _padded(norm: nn.GroupNorm, x: Tensor, offset: Tensor, num_frames: int, moments=None) -> Tensor:
    """Input of a convolution over time in planes: normalised, activated, between frames of zeros."""
    return planes.silu_between_zeros(_normalised(norm, x, offset, num_frames, moments), num_frames)


def _padded_by_neighbours(
    norm: nn.GroupNorm, x: Tensor, offset: Tensor, num_frames: int, pieces: Pieces, share: FrameShare
) -> Iterator[tuple[slice, Tensor]]:
    """Groups of positions, and the input of a convolution over time there, between neighbours' frames."""
    moments = share.moments(*planes.group_moments(x, norm.num_groups, offset, num_frames))
    offsets = offset.expand(len(x), -1).unflatten(0, (-1, num_frames))
    videos = x.unflatten(0, (-1, num_frames))
    edges = [_normalised(norm, videos[:, at], offsets[:, at], 1, moments) for at in (0, -1)]
    earlier, later = share.neighbours(*map(functional.silu, edges))
    each = round(x[..., 0].numel() * x.dtype.itemsize * over_time_units(num_frames, x.dtype, True))
    for positions in pieces.groups(x.shape[2], each):
        padded = _padded(norm, x[..., positions], offset, num_frames, moments)
        padded[:, 0], padded[:, -1] = earlier[..., positions], later[..., positions]
        yield positions, padded


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _between_neighbours(
    norm: nn.GroupNorm, video: Tensor, pieces: Pieces, share: FrameShare
) -> Iterator[tuple[slice, Tensor]]:
    """Groups of positions, and own frames there, normalised and activated, between neighbours' frames."""
    scales = _scales(norm, video, share)
    edges = (_scaled(frame, *scales) for frame in (video[:, :, :1], video[:, :, -1:]))
    earlier, later = share.neighbours(*map(functional.silu, edges))
    units = over_time_units(video.shape[2], video.dtype, False)
    for positions in pieces.groups(video.shape[3], video[..., 0].numel() * video.dtype.itemsize * units):
        own = functional.silu(_scaled(video[..., positions], *scales), inplace=True)
        padded = torch.cat((earlier[..., positions], own, later[..., positions]), dim=2)
        del own
        yield positions, padded


def _scales(norm: nn.GroupNorm, video: Tensor, share: FrameShare | None = None) -> tuple[Tensor, Tensor]:
    """Scale and offset, (B, C, 1, 1) each, with which a norm of videos (B, C, T, S) is x·scale + offset."""
    return norm.compute(video, _scales_of, norm.num_groups, norm.eps, share)


def _scales_of(
    video: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, share: FrameShare | None
) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(video.dtype, torch.float32)
    frames = [
        torch.var_mean(frame.to(wide).unflatten(1, (groups, -1)), (2, 3), correction=0)
        for frame in video.unbind(2)  # (B, C, S) each
    ]
    variances, means = (torch.stack(values) for values in zip(*frames, strict=True))  # (T, B, groups)
    between, mean = torch.var_mean(means, 0, correction=0)
    variance = variances.mean(0).add_(between)
    if share is not None:
        mean, variance = share.moments(mean, variance)
    rstd = variance.add_(eps).rsqrt_()
    scale = rstd[..., None] * weight.view(groups, -1)
    offset = bias.view(groups, -1) - mean[..., None] * scale
    return tuple(value.flatten(1)[..., None, None] for value in (scale, offset))


def _scaled(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    return torch.addcmul(offset, x, scale).to(x.dtype)


OVER_TIME = 2
"""Temporary tensors of a plain part over time, in sizes of its input: a normalised one and a convolution."""


def over_time_units(num_frames: int, dtype: torch.dtype, in_planes: bool) -> float:
    """Temporary tensors of a group of positions over time, in sizes of its input."""
    if in_planes:
        return 1 + (num_frames + 2) / num_frames  # normalised, and between zeros
    return OVER_TIME if dtype.itemsize >= 4 else 3  # narrower ones are normalised in float32


def spatial_channels(widths: list[int], out_channels: int, in_planes: bool) -> int:
    """Temporary channels of a frame in the spatial part, with its result, from parts of some widths."""
    channels = sum(widths)
    joined = channels if len(widths) > 1 else 0
    if in_planes:  # a GPU's convolution copies its input and its output to another layout
        return joined + 2 * max(channels + out_channels, 2 * out_channels)
    return joined + max(channels + out_channels, 2 * out_channels)
