"""Spatial layers of the autoencoder, which see each frame alone, computed in bands of rows.

A band of a convolution's output needs a band of the input and a row more above and below. A normalisation's
moments cover the whole frame from its first band on. So the numbers do not depend on the size of the bands.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..networks import kernels, planes
from ..networks.kernels import Convolution, FoldedUpsampling
from ..networks.unet import Upsample
from ..networks.vae import AttentionBlock, Downsample, ResnetBlock
from .moments import Moments, moments


@dataclass(frozen=True)
class Normaliser:
    """A group normalisation with fixed moments as one scale and shift a channel, and the SiLU after it."""

    scale: Tensor  # (N, C, 1), float32
    shift: Tensor
    silu: bool = True

    @classmethod
    def of(
        cls,
        norm: nn.GroupNorm,
        x: Tensor,
        input_moments: Moments | None = None,
        silu: bool = True,
        offset: Tensor | None = None,
    ) -> "Normaliser":
        """Builds the normaliser of x, (N, C, …), from its moments, which are computed unless passed in.

        With an offset, (C,), normalises x + offset; then input_moments are the moments of x + offset.
        """
        if input_moments is None:
            input_moments = moments(x, norm.num_groups, offset)
        rstd = (input_moments.variance() + norm.eps).rsqrt()
        group_size = norm.num_channels // norm.num_groups
        rstd, mean = (v.repeat_interleave(group_size, dim=1) for v in (rstd, input_moments.mean))
        with norm.weights_for(x) as weights:
            weight, bias = (value.to(rstd.dtype) for value in weights)
            scale = weight * rstd  # (N, C)
            mean = mean if offset is None else mean - offset
            return cls(scale[..., None], (bias - mean * scale)[..., None], silu)

    def __call__(self, x: Tensor) -> Tensor:
        """Normalises x, (N, C, H, W) or (N, C, L), into a new tensor of its dtype."""
        if planes.used(x):
            scale, shift = (v.expand(len(x), -1, 1) for v in (self.scale, self.shift))
            result = planes.scaled(x.flatten(2), torch.zeros_like(scale), scale, shift).view(x.shape)
            return functional.silu(result, inplace=True) if self.silu else result
        scale, shift = (v.reshape(*v.shape[:2], *[1] * (x.ndim - 2)) for v in (self.scale, self.shift))
        result = torch.addcmul(shift, x, scale) if x.dtype == scale.dtype else (x * scale).add_(shift)
        return (functional.silu(result, inplace=True) if self.silu else result).to(x.dtype)


class PackedConvolutions:
    """Convolutions with packed weights, built on first use and shared by all steps of a layer."""

    def __init__(self) -> None:
        self._packed: dict[tuple[nn.Module, type], Convolution | FoldedUpsampling] = {}

    def of(self, conv: nn.Module, x: Tensor, kind: type = Convolution) -> Convolution | FoldedUpsampling:
        """The packed convolution of a layer, built on first use for x's dtype and device."""
        if (conv, kind) not in self._packed:
            with conv.weights_for(x) as (weight, bias):
                self._packed[conv, kind] = kind(weight, bias, x)
        return self._packed[conv, kind]


@dataclass(frozen=True)
class Geometry:
    """Zero padding, in rows and columns, and stride of a 2D convolution."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    stride: int = 1

    @classmethod
    def of(cls, conv: nn.Conv2d) -> "Geometry":
        """The geometry of a convolution with symmetric padding."""
        high, wide = conv.padding
        return cls(high, high, wide, wide, conv.stride[0])


def bands(
    conv: nn.Conv2d,
    x: Tensor,
    rows: int,
    normalise: Normaliser | None = None,
    geometry: Geometry | None = None,
    packed: PackedConvolutions | None = None,
    biased: bool = True,
) -> Iterator[tuple[slice, Tensor]]:
    """Yields the convolution's output in bands of `rows` rows: their slice, and the band, (N, C', rows, W').

    normalise: applied to x first. biased: whether to add the bias.
    """
    g = geometry or Geometry.of(conv)
    convolution = (packed or PackedConvolutions()).of(conv, x)
    kernel, height = conv.kernel_size[0], x.shape[2]
    total = (height + g.top + g.bottom - kernel) // g.stride + 1
    for start in range(0, total, rows):
        end = min(start + rows, total)
        low = start * g.stride - g.top
        high = (end - 1) * g.stride - g.top + kernel
        above, below = max(-low, 0), max(high - height, 0)
        band = x[:, :, low + above : high - below]
        if normalise is not None:
            band = normalise(band)
        if above == below and g.left == g.right:
            padding = (above, g.left)  # by the convolution itself, without a copy
        else:
            band, padding = functional.pad(band, (g.left, g.right, above, below)), (0, 0)
        yield slice(start, end), convolution(band, (g.stride, g.stride), padding, biased)


def convolve(
    conv: nn.Conv2d,
    x: Tensor,
    rows: int,
    normalise: Normaliser | None = None,
    geometry: Geometry | None = None,
    packed: PackedConvolutions | None = None,
    biased: bool = True,
) -> Tensor:
    """Returns the convolution's whole output, (N, C', H', W'), computed in bands."""
    g = geometry or Geometry.of(conv)
    total = (x.shape[2] + g.top + g.bottom - conv.kernel_size[0]) // g.stride + 1
    result = None
    for where, band in bands(conv, x, rows, normalise, g, packed, biased):
        if band.shape[2] == total:
            return band
        if result is None:
            result = kernels.empty((*band.shape[:2], total, band.shape[3]), band)
        result[:, :, where] = band
    return result


def residual(
    block: ResnetBlock,
    x: Tensor,
    rows: int,
    input_moments: Moments | None = None,
    packed: PackedConvolutions | None = None,
) -> Tensor:
    """Runs a block's spatial part: (N, C, H, W) -> (N, C', H, W).

    input_moments: the moments of x, which are computed unless passed in. Where C' is C and there are several
    bands, the result overwrites x. In planes the first bias is left out of the convolution and added by the
    second normalisation, which saves a reading of the planes.
    """
    packed, in_planes = packed or PackedConvolutions(), planes.used(x)
    normalise = Normaliser.of(block.norm1, x, input_moments)
    hidden = convolve(block.conv1, x, rows, normalise, packed=packed, biased=not in_planes)
    offset = packed.of(block.conv1, x).bias if in_planes else None
    if hasattr(block, "nin_shortcut"):
        x = convolve(block.nin_shortcut, x, rows, packed=packed)
    normalise = Normaliser.of(block.norm2, hidden, offset=offset)
    for where, band in bands(block.conv2, hidden, rows, normalise, packed=packed):
        if band.shape == x.shape:
            return band.add_(x)
        x[:, :, where].add_(band)
    return x


def attend(
    block: AttentionBlock,
    x: Tensor,
    rows: int,
    scores: int,
    input_moments: Moments | None = None,
    packed: PackedConvolutions | None = None,
) -> Tensor:
    """Runs attention among the positions of each frame, (N, C, H, W), in groups of queries.

    scores: most attention scores computed at once, but never fewer than one query for each frame.
    """
    normalise = Normaliser.of(block.norm, x, input_moments, silu=False)
    # (N, C, H, W) -> (N, H·W, C)
    q, k, v = (
        convolve(project, x, rows, normalise, packed=packed).flatten(2).transpose(1, 2)
        for project in (block.q, block.k, block.v)
    )
    queries = max(1, scores // (x.shape[0] * k.shape[1]))
    hidden = kernels.empty(x.shape, x)
    tokens = hidden.flatten(2).transpose(1, 2)  # a view
    for start in range(0, q.shape[1], queries):
        where = slice(start, start + queries)
        tokens[:, where] = block.attention(q[:, where], k, v, 1)
    del q, k, v
    return convolve(block.proj_out, hidden, rows, packed=packed).add_(x)


def run_layer(
    predecessor: nn.Module | None,
    block: ResnetBlock,
    x: Tensor,
    rows: int,
    scores: int,
    input_moments: Moments | None = None,
    packed: PackedConvolutions | None = None,
) -> Tensor:
    """Runs the spatial part of a layer, the predecessor and then the block; may overwrite x.

    input_moments: the moments of x, which are computed unless passed in. packed: shared by groups of frames.
    """
    if isinstance(predecessor, AttentionBlock):
        x, input_moments = attend(predecessor, x, rows, scores, input_moments, packed), None
    elif predecessor is not None:
        resample = {Upsample: enlarge, Downsample: halve}.get(type(predecessor), convolve)
        x, input_moments = resample(predecessor, x, rows, packed=packed), None
    return residual(block, x, rows, input_moments, packed)


def enlarge(upsample: Upsample, x: Tensor, rows: int, packed: PackedConvolutions | None = None) -> Tensor:
    """Doubles height and width: (N, C, H, W) -> (N, C, 2H, 2W)."""
    conv, height = upsample.conv, x.shape[2]
    folds = kernels.folds(x)
    convolution = (packed or PackedConvolutions()).of(conv, x, FoldedUpsampling if folds else Convolution)
    rows = rows if folds else max(1, rows // 2)  # of x; a folded band needs half the memory
    if rows >= height and not folds:
        return convolution(functional.interpolate(x, scale_factor=2, mode="nearest"), padding=(1, 1))
    result = kernels.empty((x.shape[0], conv.out_channels, 2 * height, 2 * x.shape[3]), x)
    for start in range(0, height, rows):
        end = min(start + rows, height)
        low, high = max(start - 1, 0), min(end + 1, height)
        band = functional.pad(x[:, :, low:high], (1, 1, low - start + 1, end + 1 - high))
        into = result[:, :, 2 * start : 2 * end]
        if folds:
            convolution.into(into, band)
        else:
            band = functional.interpolate(band, scale_factor=2, mode="nearest")
            into.copy_(convolution(band[:, :, 1:-1, 1:-1]))
    return result


def halve(downsample: Downsample, x: Tensor, rows: int, packed: PackedConvolutions | None = None) -> Tensor:
    """Halves height and width, with zeros at the bottom and the right: (N, C, H, W) -> (N, C, H/2, W/2)."""
    geometry = Geometry(bottom=1, right=1, stride=2)
    return convolve(downsample.conv, x, rows, geometry=geometry, packed=packed)
