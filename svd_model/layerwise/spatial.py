"""The parts of the autoencoder that take each frame alone, computed in bands of rows.

A convolution's output rows need a few more input rows and nothing else, and a normalisation's statistics are
gathered first: every band size gives the same numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..unet import Upsample
from ..vae import AttentionBlock, Downsample, ResnetBlock
from .moments import Moments, moments


@dataclass(frozen=True)
class Normaliser:
    """A group normalisation whose statistics are known, and the SiLU behind it where there is one."""

    scale: Tensor  # (N, C, 1), float32
    shift: Tensor
    silu: bool = True

    @classmethod
    def of(
        cls, norm: nn.GroupNorm, x: Tensor, known: Moments | None = None, silu: bool = True
    ) -> "Normaliser":
        """For x, (N, C, …), with the moments that are known or those of each row of x."""
        found = moments(x, norm.num_groups) if known is None else known
        weight, bias = (value.to(found.mean.dtype) for value in norm.cast_weights(x))
        rstd = (found.variance() + norm.eps).rsqrt()
        rstd, mean = (v.repeat_interleave(x.shape[1] // norm.num_groups, dim=1) for v in (rstd, found.mean))
        scale = weight * rstd  # (N, C)
        return cls(scale[..., None], (bias - mean * scale)[..., None], silu)

    def __call__(self, x: Tensor) -> Tensor:
        """x, (N, C, H, W) or (N, C, L), normalised: a new tensor of the same dtype."""
        scale, shift = (v.reshape(*v.shape[:2], *[1] * (x.ndim - 2)) for v in (self.scale, self.shift))
        result = (x * scale).add_(shift)
        return (functional.silu(result, inplace=True) if self.silu else result).to(x.dtype)


@dataclass(frozen=True)
class Geometry:
    """How a 2D convolution lies on its input: the zeros around it, the stride, the enlargement before it."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    stride: int = 1
    enlarge: int = 1

    @classmethod
    def of(cls, conv: nn.Conv2d, enlarge: int = 1) -> "Geometry":
        high, wide = conv.padding
        return cls(high, high, wide, wide, conv.stride[0], enlarge)


def bands(
    conv: nn.Conv2d,
    x: Tensor,
    rows: int,
    before: Normaliser | None = None,
    geometry: Geometry | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """The convolution's output in bands of `rows` rows: where each lies, and the band, (N, C', rows, W')."""
    g = geometry or Geometry.of(conv)
    weight, bias = conv.cast_weights(x)
    kernel, height = conv.kernel_size[0], x.shape[2] * g.enlarge
    total = (height + g.top + g.bottom - kernel) // g.stride + 1
    for start in range(0, total, rows):
        end = min(start + rows, total)
        low = start * g.stride - g.top
        high = (end - 1) * g.stride - g.top + kernel
        above, below = max(-low, 0), max(high - height, 0)
        band = _prepared(x, low + above, high - below, before, g.enlarge)
        if above == below and g.left == g.right:
            padding = (above, g.left)  # the convolution's own, which needs no copy
        else:
            band, padding = functional.pad(band, (g.left, g.right, above, below)), 0
        yield slice(start, end), functional.conv2d(band, weight, bias, g.stride, padding)


def _prepared(x: Tensor, low: int, high: int, before: Normaliser | None, enlarge: int) -> Tensor:
    """The rows low to high of the convolution's input, normalised or enlarged where that comes before it."""
    band = x[:, :, low // enlarge : -(-high // enlarge)]
    if before is not None:
        band = before(band)
    if enlarge == 1:
        return band
    band = functional.interpolate(band, scale_factor=enlarge, mode="nearest")
    first = low % enlarge
    return band[:, :, first : first + high - low]


def convolve(
    conv: nn.Conv2d,
    x: Tensor,
    rows: int,
    before: Normaliser | None = None,
    geometry: Geometry | None = None,
) -> Tensor:
    """The convolution's whole output, computed in bands."""
    result = None
    for where, band in bands(conv, x, rows, before, geometry):
        if result is None:
            g = geometry or Geometry.of(conv)
            total = (x.shape[2] * g.enlarge + g.top + g.bottom - conv.kernel_size[0]) // g.stride + 1
            if band.shape[2] == total:
                return band
            result = band.new_empty(*band.shape[:2], total, band.shape[3])
        result[:, :, where] = band
    return result


def residual(block: ResnetBlock, x: Tensor, rows: int, known: Moments | None = None) -> Tensor:
    """The block's spatial part: (N, C, H, W) -> (N, C', H, W). Where C' is C, the result is written into x.

    `known`, if given, are the moments of x, which are else computed.
    """
    hidden = convolve(block.conv1, x, rows, Normaliser.of(block.norm1, x, known))
    if hasattr(block, "nin_shortcut"):
        x = convolve(block.nin_shortcut, x, rows)
    for where, band in bands(block.conv2, hidden, rows, Normaliser.of(block.norm2, hidden)):
        x[:, :, where] += band
    return x


def attend(block: AttentionBlock, x: Tensor, rows: int, scores: int, known: Moments | None = None) -> Tensor:
    """The attention among the positions of each frame, with at most that many scores at a time."""
    normalise = Normaliser.of(block.norm, x, known, silu=False)
    # (N, C, H, W) -> (N, H·W, C)
    q, k, v = (
        convolve(project, x, rows, normalise).flatten(2).transpose(1, 2)
        for project in (block.q, block.k, block.v)
    )
    queries = max(1, scores // (x.shape[0] * k.shape[1]))
    hidden = torch.empty_like(x.flatten(2))
    for start in range(0, q.shape[1], queries):
        part = block.attention(q[:, start : start + queries], k, v, 1)
        hidden[..., start : start + queries] = part.transpose(1, 2)
    del q, k, v
    return convolve(block.proj_out, hidden.view_as(x), rows).add_(x)


def through(
    before: nn.Module | None,
    block: ResnetBlock,
    x: Tensor,
    rows: int,
    scores: int,
    known: Moments | None = None,
) -> Tensor:
    """x through a layer, a residual block and what comes before it; x may be written over.

    `known`, if given, are the moments of x.
    """
    if isinstance(before, AttentionBlock):
        x, known = attend(before, x, rows, scores, known), None
    elif before is not None:
        resample = {Upsample: enlarge, Downsample: halve}.get(type(before), convolve)
        x, known = resample(before, x, rows), None
    return residual(block, x, rows, known)


def enlarge(upsample: Upsample, x: Tensor, rows: int) -> Tensor:
    """Twice the height and width: (N, C, H, W) -> (N, C, 2H, 2W)."""
    return convolve(upsample.conv, x, rows, geometry=Geometry.of(upsample.conv, enlarge=2))


def halve(downsample: Downsample, x: Tensor, rows: int) -> Tensor:
    """Half the height and width, the zeros being at the bottom and the right."""
    return convolve(downsample.conv, x, rows, geometry=Geometry(bottom=1, right=1, stride=2))
