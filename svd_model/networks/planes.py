"""Kernels for features in planes, (N, C, L) with a plane of L positions for each channel: eager, on a GPU.

A GPU runs at the speed of memory where all tensors are dense and laid out alike, and at a third of it where
one is repeated or transposed. So numbers that are constant over a plane (biases, shifts, means) are added to
one another and not to planes. Products of matrices turn planes into tokens and back, convolve over time and
add to their output.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch
from torch import Tensor

from . import kernels

_PRECISION = Lock()
"""Held while torch's precision of products, which all threads share, is another one."""

_TINY = 1e-12
"""Addend to a variance before its inverse root, far below any eps of a normalisation."""

_SHORT = 2**12
"""Least numbers of a piece of a row. A kernel reads each piece by one block of threads."""


def fits(device: torch.device) -> bool:
    """Whether these kernels are the fast ones on a device."""
    return device.type == "cuda"


def used(x: Tensor) -> bool:
    """Whether these kernels compute x."""
    return fits(x.device) and kernels.are_as_written(x.device)


def group_moments(
    x: Tensor, groups: int, offset: Tensor | None = None, num_frames: int = 1
) -> tuple[Tensor, Tensor]:
    """Mean and variance, (B, groups) each, of x + offset, (B·T, C, L) and (B·T or 1, C).

    A group spans some channels of all frames of a video. Planes are read once, in float32 or wider.
    """
    length, pieces = x.shape[2], 1
    while x.is_contiguous() and length % (2 * pieces) == 0 and length >= 2 * pieces * _SHORT:
        pieces *= 2
    mean, variance = _row_moments(x.reshape(-1, length // pieces))
    if offset is not None:
        mean = mean.view(*x.shape[:2], pieces) + offset[..., None]
    grouped = (-1, num_frames, groups, x.shape[1] // groups * pieces)
    between, mean = torch.var_mean(mean.view(grouped), (1, 3), correction=0)
    return mean, variance.view(grouped).mean((1, 3)).add_(between)


def _row_moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each row of (N, L): (N,) each."""
    if rows.device.type == "cuda":  # its kernel widens as it reads
        mean, rstd = torch.batch_norm_stats(rows[None], _TINY)
        return mean, rstd.pow_(-2).sub_(_TINY)
    variance, mean = torch.var_mean(rows if rows.dtype == torch.float64 else rows.float(), 1, correction=0)
    return mean, variance


def normalised(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    out: Tensor | None = None,
) -> Tensor:
    """Planes (x − mean)/√(variance + eps)·weight + bias: x (N, C, L), each of the others N·C or C numbers.

    The kernel is batch normalisation's, which computes in the dtype of the others and rounds once. out: a
    contiguous tensor like x for the result.
    """
    shape = (-1, mean.numel(), x.shape[2])
    result = torch.empty_like(x, memory_format=torch.contiguous_format) if out is None else out
    tables = (weight.reshape(-1), bias.reshape(-1), mean.reshape(-1), variance.reshape(-1))
    unused = mean.new_empty(0)  # statistics of a training pass
    torch.native_batch_norm(
        x.reshape(shape), *tables, False, 0.0, eps, out=(result.view(shape), unused, unused.clone())
    )
    return result


def group_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    eps: float,
    offset: Tensor | None = None,
    num_frames: int = 1,
    moments: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Group normalisation of x + offset, (B·T, C, L) and (B·T or 1, C), over all frames of a video.

    moments: results of group_moments for all positions, where x is a part of them.
    """
    mean, variance = (
        value[:, None, :, None].expand(-1, num_frames, -1, x.shape[1] // groups).reshape(x.shape[:2])
        for value in (group_moments(x, groups, offset, num_frames) if moments is None else moments)
    )
    if offset is not None:
        mean = mean - offset
    weight, bias = (value.to(mean.dtype).repeat(len(x)) for value in (weight, bias))
    return normalised(x, weight, bias, mean, variance, eps)


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor, stride: tuple, padding: tuple, shift: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """Convolution of (N, C, H, W) without its bias, and bias + shift, still to be added."""
    return kernels.conv2d(x, weight, None, stride, padding), bias + shift


def silu_between_zeros(x: Tensor, num_frames: int) -> Tensor:
    """SiLU of x, with a frame of zeros before and after each video: (B·T, C, L) -> (B, T + 2, C, L)."""
    videos = x.unflatten(0, (-1, num_frames))
    result = x.new_empty((videos.shape[0], num_frames + 2, *x.shape[1:]))
    result[:, :: num_frames + 1].zero_()
    for video, into in zip(videos, result, strict=True):
        torch.ops.aten.silu.out(video, out=into[1:-1])
    return result


@contextmanager
def precision_of_convolutions(x: Tensor) -> Iterator[None]:
    """Context in which products of float32 x are rounded as convolutions are on a GPU: to TF32, by default.

    In the reference a convolution over time is a convolution, here a product.
    """
    matmul = torch.backends.cuda.matmul
    if x.device.type != "cuda" or x.dtype != torch.float32:
        yield
        return
    with _PRECISION:
        try:
            products, convolutions = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        except RuntimeError:  # the caller has set them by torch's other functions
            yield
            return
        matmul.allow_tf32 = convolutions
        try:
            yield
        finally:
            matmul.allow_tf32 = products


def over_time(
    padded: Tensor, weight: Tensor, bias: Tensor, shift: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """Convolution over time without its bias, and bias + shift: (B, T + 2, C, L) -> (B·T, C', L)."""
    matrix = taps(weight)
    frames, length = padded.shape[1] - 2, padded.shape[3]
    result = padded.new_empty((len(padded), frames, len(matrix), length))
    with precision_of_convolutions(padded):
        for video, into in zip(padded, result, strict=True):
            torch.bmm(matrix.expand(frames, -1, -1), windows(video), out=into)
    return result.flatten(0, 1), bias + shift


def add_over_time(padded: Tensor, weight: Tensor, bias: Tensor, x: Tensor, part: Tensor) -> Tensor:
    """Add part · a convolution over time to x, (B·T, C, L); return part · bias, still to be added."""
    matrix = taps(weight * part)
    with precision_of_convolutions(padded):
        for video, onto in zip(padded, x.view(len(padded), -1, *x.shape[1:]), strict=True):
            onto.baddbmm_(matrix.expand(len(onto), -1, -1), windows(video))
    return bias * part


def taps(weight: Tensor) -> Tensor:
    """Matrix, (C', 3·C), that multiplies a window, from a weight (C', C, 3, 1, 1)."""
    return weight[..., 0, 0].transpose(1, 2).flatten(1)


def windows(padded: Tensor) -> Tensor:
    """View of each frame between its neighbours, which lie in a row: (T + 2, C, L) -> (T, 3·C, L)."""
    frames, channels, length = padded.shape
    shape, strides = (frames - 2, 3 * channels, length), (channels * length, length, 1)
    return padded.as_strided(shape, strides, padded.storage_offset())


def to_tokens(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Linear layer on the positions of planes: (N, C, L) -> (N, L, C')."""
    return torch.baddbmm(bias, x.transpose(1, 2), weight.t().expand(len(x), -1, -1))


def add_tokens(tokens: Tensor, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """Sum of x, (N, C', L), and a linear layer of tokens, (N, L, C), as planes (N, C', L)."""
    result = x + bias[:, None]
    return result.baddbmm_(weight.expand(len(x), -1, -1), tokens.transpose(1, 2))
