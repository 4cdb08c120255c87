"""The parts of the autoencoder that take each frame alone, computed in bands of rows.

A convolution's output rows need a few more input rows and nothing else, and a normalisation's statistics are
gathered first: every band size gives the same numbers.
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
    """A group normalisation whose statistics are known, and the SiLU behind it where there is one."""

    scale: Tensor  # (N, C, 1), float32
    shift: Tensor
    silu: bool = True

    @classmethod
    def of(
        cls,
        norm: nn.GroupNorm,
        x: Tensor,
        known: Moments | None = None,
        silu: bool = True,
        offset: Tensor | None = None,
    ) -> "Normaliser":
        """For x, (N, C, …), with the moments that are known or those of each row of x.

        With an offset, (C,), for x + offset, of which the known moments are.
        """
        found = moments(x, norm.num_groups, offset) if known is None else known
        rstd = (found.variance() + norm.eps).rsqrt()
        each = norm.num_channels // norm.num_groups
        rstd, mean = (v.repeat_interleave(each, dim=1) for v in (rstd, found.mean))
        with norm.weights_for(x) as weights:
            weight, bias = (value.to(rstd.dtype) for value in weights)
            scale = weight * rstd  # (N, C)
            mean = mean if offset is None else mean - offset
            return cls(scale[..., None], (bias - mean * scale)[..., None], silu)

    def __call__(self, x: Tensor) -> Tensor:
        """x, (N, C, H, W) or (N, C, L), normalised: a new tensor of the same dtype."""
        if planes.used(x):
            scale, shift = (v.expand(len(x), -1, 1) for v in (self.scale, self.shift))
            result = planes.scaled(x.flatten(2), torch.zeros_like(scale), scale, shift).view(x.shape)
            return functional.silu(result, inplace=True) if self.silu else result
        scale, shift = (v.reshape(*v.shape[:2], *[1] * (x.ndim - 2)) for v in (self.scale, self.shift))
        result = torch.addcmul(shift, x, scale) if x.dtype == scale.dtype else (x * scale).add_(shift)
        return (functional.silu(result, inplace=True) if self.silu else result).to(x.dtype)


class Convolutions:
    """Convolutions ready for use, each made when first asked for and then kept, while a layer is at work."""

    def __init__(self) -> None:
        self._made: dict[tuple[nn.Module, type], Convolution | FoldedUpsampling] = {}

    def of(self, conv: nn.Module, x: Tensor, kind: type = Convolution) -> Convolution | FoldedUpsampling:
        """That of a layer, for tensors like x."""
        if (conv, kind) not in self._made:
            with conv.weights_for(x) as (weight, bias):
                self._made[conv, kind] = kind(weight, bias, x)
        return self._made[conv, kind]


@dataclass(frozen=True)
class Geometry:
    """How a 2D convolution lies on its input: the zeros around it, and the stride."""

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
    before: Normaliser | None = None,
    geometry: Geometry | None = None,
    ready: Convolutions | None = None,
    biased: bool = True,
) -> Iterator[tuple[slice, Tensor]]:
    """The convolution's output in bands of `rows` rows: where each lies, and the band, (N, C', rows, W').

    Without its bias if that is to be left apart.
    """
    g = geometry or Geometry.of(conv)
    convolution = (ready or Convolutions()).of(conv, x)
    kernel, height = conv.kernel_size[0], x.shape[2]
    total = (height + g.top + g.bottom - kernel) // g.stride + 1
    for start in range(0, total, rows):
        end = min(start + rows, total)
        low = start * g.stride - g.top
        high = (end - 1) * g.stride - g.top + kernel
        above, below = max(-low, 0), max(high - height, 0)
        band = x[:, :, low + above : high - below]
        if before is not None:
            band = before(band)
        if above == below and g.left == g.right:
            padding = (above, g.left)  # the convolution's own, which needs no copy
        else:
            band, padding = functional.pad(band, (g.left, g.right, above, below)), (0, 0)
        yield slice(start, end), convolution(band, (g.stride, g.stride), padding, biased)


def convolve(
    conv: nn.Conv2d,
    x: Tensor,
    rows: int,
    before: Normaliser | None = None,
    geometry: Geometry | None = None,
    ready: Convolutions | None = None,
    biased: bool = True,
) -> Tensor:
    """The convolution's whole output, computed in bands."""
    g = geometry or Geometry.of(conv)
    total = (x.shape[2] + g.top + g.bottom - conv.kernel_size[0]) // g.stride + 1
    result = None
    for where, band in bands(conv, x, rows, before, g, ready, biased):
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
    known: Moments | None = None,
    ready: Convolutions | None = None,
) -> Tensor:
    """The block's spatial part: (N, C, H, W) -> (N, C', H, W).

    Where C' is C and a band is less than the whole, the result is written into x. `known`, if given, are the
    moments of x, which are else computed. In planes the first bias is added to the numbers of the planes.
    """
    ready, apart = ready or Convolutions(), planes.used(x)
    normalise = Normaliser.of(block.norm1, x, known)
    hidden = convolve(block.conv1, x, rows, normalise, ready=ready, biased=not apart)
    offset = ready.of(block.conv1, x).bias if apart else None
    if hasattr(block, "nin_shortcut"):
        x = convolve(block.nin_shortcut, x, rows, ready=ready)
    normalise = Normaliser.of(block.norm2, hidden, offset=offset)
    for where, band in bands(block.conv2, hidden, rows, normalise, ready=ready):
        if band.shape == x.shape:
            return band.add_(x)
        x[:, :, where].add_(band)
    return x


def attend(
    block: AttentionBlock,
    x: Tensor,
    rows: int,
    scores: int,
    known: Moments | None = None,
    ready: Convolutions | None = None,
) -> Tensor:
    """The attention among the positions of each frame, with at most that many scores at a time."""
    normalise = Normaliser.of(block.norm, x, known, silu=False)
    # (N, C, H, W) -> (N, H·W, C)
    q, k, v = (
        convolve(project, x, rows, normalise, ready=ready).flatten(2).transpose(1, 2)
        for project in (block.q, block.k, block.v)
    )
    queries = max(1, scores // (x.shape[0] * k.shape[1]))
    hidden = kernels.empty(x.shape, x)
    tokens = hidden.flatten(2).transpose(1, 2)  # a view
    for start in range(0, q.shape[1], queries):
        where = slice(start, start + queries)
        tokens[:, where] = block.attention(q[:, where], k, v, 1)
    del q, k, v
    return convolve(block.proj_out, hidden, rows, ready=ready).add_(x)


def through(
    before: nn.Module | None,
    block: ResnetBlock,
    x: Tensor,
    rows: int,
    scores: int,
    known: Moments | None = None,
    ready: Convolutions | None = None,
) -> Tensor:
    """x through a layer, a residual block and what comes before it; in bands x may be written over.

    `known`, if given, are the moments of x; `ready` keeps the convolutions for the next frames.
    """
    if isinstance(before, AttentionBlock):
        x, known = attend(before, x, rows, scores, known, ready), None
    elif before is not None:
        resample = {Upsample: enlarge, Downsample: halve}.get(type(before), convolve)
        x, known = resample(before, x, rows, ready=ready), None
    return residual(block, x, rows, known, ready)


def enlarge(upsample: Upsample, x: Tensor, rows: int, ready: Convolutions | None = None) -> Tensor:
    """Twice the height and width: (N, C, H, W) -> (N, C, 2H, 2W)."""
    conv, height = upsample.conv, x.shape[2]
    folds = kernels.folds(x)
    convolution = (ready or Convolutions()).of(conv, x, FoldedUpsampling if folds else Convolution)
    rows = rows if folds else max(1, rows // 2)  # of x; folded they take half as much
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


def halve(downsample: Downsample, x: Tensor, rows: int, ready: Convolutions | None = None) -> Tensor:
    """Half the height and width, the zeros being at the bottom and the right."""
    return convolve(downsample.conv, x, rows, geometry=Geometry(bottom=1, right=1, stride=2), ready=ready)
