"""Kernels that compute the layers: equal in exact arithmetic, chosen by speed.

Most take (x, weight, bias, …) with the weights of a checkpoint, and give the numbers of torch's own layer up
to rounding. benchmarks/RESULTS.md has the measurements behind the choices.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

FEW_POSITIONS = 384
"""Positions below which a CPU spends longer on a convolution's weights than on its input."""

WORTH_FOLDING = 768
"""Positions from which a CPU gains by folding an upsampling into its convolution.

For a pair of channels folding writes 16 sums of taps, and at each position it saves 20 products. The costs
are equal at about 256 positions on two cores, with AVX2 as with AVX-512. More cores multiply faster, but copy
little faster: hence three times as many.
"""

_ONEDNN = torch.ops.mkldnn if torch.backends.mkldnn.is_available() else None


def memory_format(device: torch.device) -> torch.memory_format:
    """Memory format of features: channels last on a CPU, where it makes convolutions faster.

    It also makes the tokens of attention a view of the pixels.
    """
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Empty tensor (N, C, H, W), in the dtype and on the device of `like`."""
    layout = memory_format(like.device)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def to_host(x: Tensor, wait: bool = True) -> Tensor:
    """Tensor in host memory; a copy from a CUDA device is pinned, which it fills several times as fast.

    wait: whether the numbers are there on return, which the host needs, and a copy back does not.
    """
    if x.device.type == "cpu":
        return x
    pinned = x.device.type == "cuda"
    copy = torch.empty_like(x, dtype=x.dtype, device="cpu", pin_memory=pinned)
    return copy.copy_(x, non_blocking=pinned and not wait)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Linear layer x·weightᵀ + bias: (…, C) with weight (C', C) -> (…, C').

    On a CPU in float32 oneDNN computes it, which is faster than torch's choice, MKL: by a tenth for many
    rows, by half for few. oneDNN has no gradient, so training takes torch's choice.
    """
    if _by_onednn(x):
        return _ONEDNN._linear_pointwise(x, weight, bias, "none", [], "")
    return functional.linear(x, weight, bias)


def linear_halves(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Linear layer in two halves, each by a product with half of the weight's rows, and so dense."""
    return tuple(linear(x, *half) for half in zip(weight.chunk(2), bias.chunk(2), strict=True))


def linear_of_part(x: Tensor, weight: Tensor, bias: Tensor | None, rest: Tensor) -> Tensor:
    """Linear layer of x, (…, C), beside more inputs: weight (C', C + M); rest = their part and the bias."""
    result = functional.linear(x, weight[:, : x.shape[-1]])
    return result + rest if torch.is_grad_enabled() else result.add_(rest)


def gated(value: Tensor, gate: Tensor) -> Tensor:
    """Product value·gelu(gate). Both are written over, except where a gradient needs them."""
    if torch.is_grad_enabled():
        return value * functional.gelu(gate)
    return value.mul_(torch.ops.aten.gelu_(gate))


def are_as_written(device: torch.device) -> bool:
    """Whether a device computes operations one by one, just as written, so that a kernel can choose them.

    A gradient, a compiler and an autocast each change operations.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return False
    return not torch.is_autocast_enabled(device.type)


def _by_onednn(x: Tensor) -> bool:
    """Whether x may go to oneDNN directly, by functions that only torch's eager mode knows."""
    if _ONEDNN is None or x.device.type != "cpu" or not are_as_written(x.device):
        return False
    return x.dtype == torch.float32 and x.numel() > 0


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int | tuple = 1, padding=0) -> Tensor:
    """Convolution of (N, C, H, W). The result has the memory format of x, or is contiguous for a small x."""
    if _is_small(x):
        # Torch's convolution of a pixel rounds by the address of the weights: by their place in a file.
        if weight.shape[2:] == (1, 1) and stride in (1, (1, 1)) and padding in (0, (0, 0)):
            return linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
        x = x.contiguous()
    return functional.conv2d(x, weight, bias, stride, padding)


def _is_small(x: Tensor) -> bool:
    """Whether (N, C, H, W) has few positions, on a CPU. A compiler would make a graph for each answer."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return x.shape[0] * x.shape[2] * x.shape[3] < FEW_POSITIONS


class Convolution:
    """2D convolution for many calls on tensors like x, with a copy of the weights, which a layer only lends.

    The copy has the memory format of features, so that a CPU's convolution need not bring it there. What more
    it rearranges depends on the size of x, and costs it little beside many positions.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, x: Tensor):
        self.bias = None if bias is None else bias.clone()
        # A 3×1×1 one works as 3×1 on (B, C, T, S).
        self._weight = weight.flatten(3).clone(memory_format=memory_format(x.device))

    def __call__(
        self,
        x: Tensor,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        biased: bool = True,
    ) -> Tensor:
        """Convolve (N, C, H, W) to (N, C', H', W'). biased: whether to add the bias."""
        return functional.conv2d(x, self._weight, self.bias if biased else None, stride, padding)


def check_videos(x: Tensor, num_frames: int) -> None:
    """Raise ValueError where x, (B·T, …), is not a whole number B of videos.

    B is computed as a Python int, by a length, so torch.compile specialises on B and keeps only T symbolic.
    With both symbolic, compiling takes hours.
    """
    num_videos = len(range(x.shape[0] // num_frames)) if num_frames > 0 else 0
    if x.shape[0] != num_videos * num_frames:
        raise ValueError(
            f"x holds {x.shape[0]} frames, which is not a whole number of videos of {num_frames} frames."
        )


def over_time(x: Tensor, weight: Tensor, bias: Tensor | None, zeros: int = 1) -> Tensor:
    """Convolution over time between zeros: (B, C, T, S), weight (C', C, 3, 1, 1) -> (B, C', T, S).

    zeros: how many frames of them at either end; 0 where x has the frames around the result's. It is computed
    as a 2D convolution over frames and positions. 2D ones have faster kernels than 3D.
    """
    return conv2d(x, weight.flatten(3), bias, padding=(zeros, 0))


def fold_upsampling(weight: Tensor) -> list[list[Tensor]]:
    """Four 2×2 kernels for a nearest-neighbour enlargement to twice the size and a 3×3 convolution behind it.

    (C', C, 3, 3) -> [row][column] of (C', C, 2, 2), by the parity of a pixel's row and column in the large
    picture. The nine taps around a pixel fall on only four pixels of the small picture. Taps on one pixel are
    added.
    """
    return [list(_pairs(rows, 3)) for rows in _pairs(weight, 2)]


def _pairs(weight: Tensor, dim: int) -> Iterator[Tensor]:
    """Taps on two pixels, summed from three taps along a dimension, for either parity."""
    first, middle, last = weight.unbind(dim)
    yield torch.stack((first, middle + last), dim)
    yield torch.stack((first + middle, last), dim)


def folds(x: Tensor) -> bool:
    """Whether enlarging x is folded: in float32 or wider, where folding the weights saves time.

    In a narrower dtype a sum of rounded taps would be rounded again.
    """
    if x.dtype.itemsize < 4:
        return False
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return True
    return x.shape[0] * x.shape[2] * x.shape[3] >= WORTH_FOLDING


class FoldedUpsampling:
    """Enlargement to twice the size, then a 3×3 convolution, for many calls on tensors like x."""

    def __init__(self, weight: Tensor, bias: Tensor | None, x: Tensor):
        self._parts = [[Convolution(k, bias, x) for k in row] for row in fold_upsampling(weight)]

    def into(self, result: Tensor, padded: Tensor) -> Tensor:
        """Enlarge x, padded by one pixel, (N, C, H + 2, W + 2), into result, (N, C', 2H, 2W)."""
        height, width = result.shape[2] // 2, result.shape[3] // 2
        for i, row in enumerate(self._parts):
            for j, convolve in enumerate(row):
                part = padded[:, :, i : i + height + 1, j : j + width + 1]
                result[:, :, i::2, j::2] = convolve(part)
        return result


def enlarge(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Enlarge to twice the size by nearest neighbour, then convolve: (N, C, H, W) -> (N, C', 2H, 2W)."""
    if folds(x):
        rows, _, height, width = x.shape
        result = empty((rows, weight.shape[0], 2 * height, 2 * width), x)
        return FoldedUpsampling(weight, bias, x).into(result, functional.pad(x, (1, 1, 1, 1)))
    x = functional.interpolate(x, scale_factor=2, mode="nearest")
    return conv2d(x, weight, bias, padding=1)
