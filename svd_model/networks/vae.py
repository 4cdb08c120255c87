"""The autoencoder: image encoder, frame-wise decoder, temporal decoder.

Attribute names are the checkpoint's keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .mixing import mix_weight
from .operations import Attention, CastingOperations, empty_parameter, scaled_dot_product_attention
from .resampling import Upsample

LATENT_SCALE = 0.18215
"""Factor of latents in the diffusion model. The conditioning latent is not scaled."""


@dataclass(frozen=True)
class VAEParams:
    """Sizes of an encoder or decoder. The defaults fit every released checkpoint."""

    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    z_channels: int = 4
    image_channels: int = 3

    @property
    def downscale(self) -> int:
        """Pixels of an image per pixel of its latent, along each side."""
        return 2 ** (len(self.channel_mult) - 1)


class ResnetBlock(nn.Module):
    """Residual block of two 3×3 convolutions on each frame: (N, C, H, W) -> (N, C', H, W)."""

    def __init__(self, channels: int, out_channels: int, operations, **factory):
        super().__init__()
        self.norm1 = operations.GroupNorm(32, channels, eps=1e-6, **factory)
        self.conv1 = operations.Conv2d(channels, out_channels, 3, padding=1, **factory)
        self.norm2 = operations.GroupNorm(32, out_channels, eps=1e-6, **factory)
        self.conv2 = operations.Conv2d(out_channels, out_channels, 3, padding=1, **factory)
        if channels != out_channels:
            self.nin_shortcut = operations.Conv2d(channels, out_channels, 1, **factory)

    def forward(self, x: Tensor, num_frames: int, ring: bool = False) -> Tensor:
        hidden = self.conv1(functional.silu(self.norm1(x), inplace=True))
        hidden = self.conv2(functional.silu(self.norm2(hidden), inplace=True))
        return hidden + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


def convolved_over_time(conv: nn.Module, x: Tensor, ring: bool) -> Tensor:
    """3×1×1 convolution between frames of zeros, or on a ring between its last and its first frame.

    (B, C, T, H, W) -> (B, C', T, H, W). Any layer that pads with zeros can do it: the ring is lengthened by a
    frame at each end, and the results there, which have seen the zeros, are dropped.
    """
    if not ring:
        return conv(x)
    return conv(torch.cat((x[:, :, -1:], x, x[:, :, :1]), dim=2))[:, :, 1:-1]


class TemporalResBlock(nn.Module):
    """Residual block of two 3×1×1 convolutions, normalised over all frames: (B, C, T, H, W)."""

    def __init__(self, channels: int, operations, **factory):
        super().__init__()

        def conv() -> nn.Module:
            return operations.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0), **factory)

        self.in_layers = nn.Sequential(
            operations.GroupNorm(32, channels, **factory), nn.SiLU(inplace=True), conv()
        )
        # The reference has a dropout at index 2: the checkpoint's keys are out_layers.0 and out_layers.3.
        self.out_layers = nn.Sequential(
            operations.GroupNorm(32, channels, **factory), nn.SiLU(inplace=True), nn.Identity(), conv()
        )

    def forward(self, x: Tensor, ring: bool = False) -> Tensor:
        norm1, activate, conv1 = self.in_layers
        norm2, _, _, conv2 = self.out_layers
        hidden = convolved_over_time(conv1, activate(norm1(x)), ring)
        return x + convolved_over_time(conv2, activate(norm2(hidden)), ring)


class VideoResnetBlock(ResnetBlock):
    """Residual block on each frame, then one over time, mixed: α·temporal + (1−α)·spatial.

    Here α weighs the temporal path, in the UNet the spatial one.
    """

    def __init__(self, channels: int, out_channels: int, operations, **factory):
        super().__init__(channels, out_channels, operations, **factory)
        self.time_stack = TemporalResBlock(out_channels, operations, **factory)
        self.mix_factor = empty_parameter(1, **factory)

    def forward(self, x: Tensor, num_frames: int, ring: bool = False) -> Tensor:
        x = super().forward(x, num_frames)
        spatial = x.unflatten(0, (-1, num_frames)).transpose(1, 2)  # (B·T, C, H, W) -> (B, C, T, H, W)
        mixed = torch.lerp(spatial, self.time_stack(spatial, ring), mix_weight(self.mix_factor, spatial))
        return mixed.transpose(1, 2).flatten(0, 1)  # -> (B·T, C, H, W)


class AttentionBlock(nn.Module):
    """Single-head attention among the positions of each frame, added to its input: (N, C, H, W)."""

    def __init__(self, channels: int, attention: Attention, operations, **factory):
        super().__init__()
        self.attention = attention
        self.norm = operations.GroupNorm(32, channels, eps=1e-6, **factory)
        self.q = operations.Conv2d(channels, channels, 1, **factory)
        self.k = operations.Conv2d(channels, channels, 1, **factory)
        self.v = operations.Conv2d(channels, channels, 1, **factory)
        self.proj_out = operations.Conv2d(channels, channels, 1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        # (N, C, H, W) -> (N, H·W, C)
        q, k, v = (project(normed).flatten(2).transpose(1, 2) for project in (self.q, self.k, self.v))
        hidden = self.attention(q, k, v, 1).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.proj_out(hidden)


class Middle(nn.Module):
    """Lowest level of an encoder or decoder: residual block, attention, residual block."""

    def __init__(self, block: type[ResnetBlock], channels: int, attention: Attention, operations, **factory):
        super().__init__()
        self.block_1 = block(channels, channels, operations, **factory)
        self.attn_1 = AttentionBlock(channels, attention, operations, **factory)
        self.block_2 = block(channels, channels, operations, **factory)

    def forward(self, x: Tensor, num_frames: int, ring: bool = False) -> Tensor:
        x = self.block_1(x, num_frames, ring)
        return self.block_2(self.attn_1(x), num_frames, ring)


class Downsample(nn.Module):
    """Convolution to half the height and width, with zeros at the right and the bottom only."""

    def __init__(self, channels: int, operations, **factory):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, stride=2, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """Residual blocks of one resolution, then the layer that leads to the next resolution, if any."""

    def __init__(self, blocks: list[ResnetBlock], **resample: nn.Module):
        super().__init__()
        self.block = nn.ModuleList(blocks)
        self.resample = next(iter(resample), None)  # "upsample" or "downsample", as the keys have it
        for name, module in resample.items():
            self.add_module(name, module)

    def in_order(self) -> Iterator[nn.Module]:
        """The blocks and the resampling in the order in which they run."""
        yield from self.block
        if self.resample:
            yield getattr(self, self.resample)

    def forward(self, x: Tensor, num_frames: int, ring: bool = False) -> Tensor:
        for block in self.block:
            x = block(x, num_frames, ring)
        return getattr(self, self.resample)(x) if self.resample else x


class Encoder(nn.Module):
    """Encoder of images to mean and log-variance of their latents, before any quant_conv."""

    def __init__(self, params: VAEParams, attention: Attention, operations, **factory):
        super().__init__()
        channels = params.channels
        self.conv_in = operations.Conv2d(params.image_channels, channels, 3, padding=1, **factory)
        self.down = nn.ModuleList()
        for level, mult in enumerate(params.channel_mult):
            width = mult * params.channels
            blocks = []
            for _ in range(params.num_res_blocks):
                blocks.append(ResnetBlock(channels, width, operations, **factory))
                channels = width
            last = level == len(params.channel_mult) - 1
            way_down = {} if last else {"downsample": Downsample(channels, operations, **factory)}
            self.down.append(Level(blocks, **way_down))
        self.mid = Middle(ResnetBlock, channels, attention, operations, **factory)
        self.norm_out = operations.GroupNorm(32, channels, eps=1e-6, **factory)
        self.conv_out = operations.Conv2d(channels, 2 * params.z_channels, 3, padding=1, **factory)

    def in_order(self) -> Iterator[nn.Module]:
        """Convolutions, residual blocks, resamplings and the attention, in the order in which they run."""
        yield self.conv_in
        for level in self.down:
            yield from level.in_order()
        yield from self.mid.children()
        yield self.conv_out

    def forward(self, x: Tensor) -> Tensor:
        """Encode images: (N, 3, H, W) in [−1, 1] -> (N, 2·z_channels, H/8, W/8)."""
        x = self.conv_in(x)
        for level in self.down:
            x = level(x, 1)
        x = self.mid(x, 1)
        return self.conv_out(functional.silu(self.norm_out(x), inplace=True))


class Decoder(nn.Module):
    """Decoder of latents to images, each frame on its own."""

    block = ResnetBlock

    def __init__(self, params: VAEParams, attention: Attention, operations, **factory):
        super().__init__()
        channels = params.channel_mult[-1] * params.channels
        self.conv_in = operations.Conv2d(params.z_channels, channels, 3, padding=1, **factory)
        self.mid = Middle(self.block, channels, attention, operations, **factory)
        levels = []
        for level, mult in reversed(list(enumerate(params.channel_mult))):
            width = mult * params.channels
            blocks = []
            for _ in range(params.num_res_blocks + 1):
                blocks.append(self.block(channels, width, operations, **factory))
                channels = width
            way_up = {"upsample": Upsample(channels, operations, **factory)} if level > 0 else {}
            levels.insert(0, Level(blocks, **way_up))
        self.up = nn.ModuleList(levels)
        self.norm_out = operations.GroupNorm(32, channels, eps=1e-6, **factory)
        self.conv_out = operations.Conv2d(channels, params.image_channels, 3, padding=1, **factory)

    def in_order(self) -> Iterator[nn.Module]:
        """Convolutions, residual blocks, resamplings and the attention, in the order in which they run."""
        yield self.conv_in
        yield from self.mid.children()
        for level in reversed(self.up):
            yield from level.in_order()
        yield self.conv_out

    def forward(self, z: Tensor, num_frames: int, ring: bool = False) -> Tensor:
        """Decode latents: (B·T, z_channels, h, w) -> (B·T, 3, 8h, 8w)."""
        x = self.mid(self.conv_in(z), num_frames, ring)
        for level in reversed(self.up):
            x = level(x, num_frames, ring)
        return self.conv_out(functional.silu(self.norm_out(x), inplace=True))


class TemporalDecoder(Decoder):
    """Decoder of latents to images, all frames of a video together."""

    block = VideoResnetBlock

    def __init__(self, params: VAEParams, attention: Attention, operations, **factory):
        super().__init__(params, attention, operations, **factory)
        # A child of the convolution: the checkpoint's key is conv_out.time_mix_conv.
        channels = params.image_channels
        self.conv_out.time_mix_conv = operations.Conv3d(
            channels, channels, (3, 1, 1), padding=(1, 0, 0), **factory
        )

    def forward(self, z: Tensor, num_frames: int, ring: bool = False) -> Tensor:
        """Decode latents: (B·T, z_channels, h, w) -> (B·T, 3, 8h, 8w)."""
        frames = super().forward(z, num_frames, ring)
        video = frames.unflatten(0, (-1, num_frames)).transpose(1, 2)  # (B·T, 3, H, W) -> (B, 3, T, H, W)
        mixed = convolved_over_time(self.conv_out.time_mix_conv, video, ring)
        return mixed.transpose(1, 2).flatten(0, 1)  # -> (B·T, 3, H, W)


class ImageEncoder(nn.Module):
    """Encoder of images to latents, with a 1×1 convolution behind it where the checkpoint has one."""

    def __init__(
        self,
        params: VAEParams,
        *,
        quant_conv: bool,
        operations=CastingOperations,
        attention: Attention = scaled_dot_product_attention,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.params = params
        factory = {"dtype": dtype, "device": device}
        self.encoder = Encoder(params, attention, operations, **factory)
        moments = 2 * params.z_channels
        self.quant_conv = operations.Conv2d(moments, moments, 1, **factory) if quant_conv else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Mode of the posterior, not scaled: (N, 3, H, W) in [−1, 1] -> (N, z_channels, H/8, W/8)."""
        self.check_images(images)
        return self.quant_conv(self.encoder(images))[:, : self.params.z_channels]

    def check_images(self, images: Tensor) -> None:
        """Raise ValueError for images that the encoder can't take."""
        p = self.params
        height, width = images.shape[-2:]
        if (
            images.ndim != 4
            or images.shape[1] != p.image_channels
            or height % p.downscale
            or width % p.downscale
        ):
            raise ValueError(
                f"images have shape {tuple(images.shape)}; the encoder takes (N, {p.image_channels}, H, W) "
                f"with H and W multiples of {p.downscale}."
            )


class VideoDecoder(nn.Module):
    """Decoder of latents to frames, with a 1×1 convolution before it where the checkpoint has one."""

    def __init__(
        self,
        params: VAEParams,
        *,
        temporal: bool,
        post_quant_conv: bool,
        operations=CastingOperations,
        attention: Attention = scaled_dot_product_attention,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.params = params
        self.temporal = temporal
        factory = {"dtype": dtype, "device": device}
        decoder = TemporalDecoder if temporal else Decoder
        self.decoder = decoder(params, attention, operations, **factory)
        z = params.z_channels
        self.post_quant_conv = operations.Conv2d(z, z, 1, **factory) if post_quant_conv else nn.Identity()

    def forward(self, z: Tensor, num_frames: int, ring: bool = False) -> Tensor:
        """Decode latents / LATENT_SCALE: (B·T, z_channels, h, w) -> (B·T, 3, 8h, 8w), near [−1, 1].

        ring: whether each video is a loop, whose last frame comes before its first; a decoder of single
        frames gives one either way.
        """
        self.check_latents(z, num_frames)
        return self.decoder(self.post_quant_conv(z), num_frames, ring)

    def check_latents(self, z: Tensor, num_frames: int) -> None:
        """Raise ValueError for latents that the decoder can't take."""
        if z.ndim != 4 or z.shape[1] != self.params.z_channels or num_frames < 1 or z.shape[0] % num_frames:
            raise ValueError(
                f"latents have shape {tuple(z.shape)}; the decoder takes (frames, "
                f"{self.params.z_channels}, h, w) with a whole number of videos of {num_frames} frames."
            )
