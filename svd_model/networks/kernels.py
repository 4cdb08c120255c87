"""The forms in which the layers are computed: equal in exact arithmetic, chosen by what is fastest.

Every function takes (x, weight, bias, …) with the weights as a checkpoint holds them, and gives the numbers
of torch's own layer up to rounding. benchmarks/RESULTS.md has the measurements that the choices come from.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

FEW_POSITIONS = 384
"""Below this many positions a CPU spends longer on rearranging a convolution's weights than on its input."""

WORTH_FOLDING = 768
"""Positions from which on a CPU gains by folding an upsampling into its convolution."""

_ONEDNN = torch.ops.mkldnn if torch.backends.mkldnn.is_available() else None


def memory_format(device: torch.device) -> torch.memory_format:
    """How the networks lay their features out: channels last on a CPU, where convolutions are faster so.

    There the change from pixels to the tokens of attention is a view, too.
    """
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """An (N, C, H, W) tensor to be filled, on the device and in the dtype of another."""
    layout = memory_format(like.device)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x·weightᵀ + bias: (…, C) with weight (C', C) -> (…, C').

    On a CPU in float32 by oneDNN, which is faster than torch's choice, MKL: by a tenth for many rows, by half
    for few. It has no gradient, so training takes torch's.
    """
    if _by_onednn(x):
        return _ONEDNN._linear_pointwise(x, weight, bias, "none", [], "")
    return functional.linear(x, weight, bias)


def linear_halves(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """x·weightᵀ + bias by a product for each half of the weight's rows, so that each half is dense."""
    return tuple(linear(x, *half) for half in zip(weight.chunk(2), bias.chunk(2), strict=True))


def gated(value: Tensor, gate: Tensor) -> Tensor:
    """value·gelu(gate); both are written over but where a gradient needs them."""
    if torch.is_grad_enabled():
        return value * functional.gelu(gate)
    return value.mul_(torch.ops.aten.gelu_(gate))


def are_as_written(device: torch.device) -> bool:
    """Whether operations on a device are computed as they are written, so that a form can choose them.

    Not where a gradient is wanted, a compiler fuses them, or an autocast changes the dtypes of some.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return False
    return not torch.is_autocast_enabled(device.type)


def _by_onednn(x: Tensor) -> bool:
    """Whether x may go to oneDNN directly: through functions that only torch's plain mode knows."""
    if _ONEDNN is None or x.device.type != "cpu" or not are_as_written(x.device):
        return False
    return x.dtype == torch.float32 and x.numel() > 0


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int | tuple = 1, padding=0) -> Tensor:
    """A convolution of (N, C, H, W); the result is laid out as x is, or plainly where x is small."""
    if _is_small(x):
        x = x.contiguous()
    return functional.conv2d(x, weight, bias, stride, padding)


def _is_small(x: Tensor) -> bool:
    """Whether (N, C, H, W) has few positions, on a CPU. A compiler would make a graph for each answer."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return x.shape[0] * x.shape[2] * x.shape[3] < FEW_POSITIONS


class Convolution:
    """A 2D convolution for many calls on tensors like x, with weights of its own: a layer's are only lent.

    On a CPU they are rearranged once for all calls.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, x: Tensor):
        weight = weight.flatten(3)  # a 3×1×1 one works as 3×1 on (B, C, T, S)
        self.bias = None if bias is None else bias.clone()
        self._packed = _by_onednn(x)
        if self._packed:
            size = (1, weight.shape[1], 64, 64)  # a hint; any other is computed too
            given = (weight, (0, 0), (1, 1), (1, 1), 1, size)
            self._weight = _ONEDNN._reorder_convolution_weight(*given)
        else:
            self._weight = weight.clone()

    def __call__(
        self,
        x: Tensor,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        biased: bool = True,
    ) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W'), without the bias if it is not to be `biased`."""
        bias = self.bias if biased else None
        if not self._packed:
            return functional.conv2d(x, self._weight, bias, stride, padding)
        given = (x, self._weight, bias, padding, stride, (1, 1), 1)
        return _ONEDNN._convolution_pointwise(*given, "none", [], "")


def check_videos(x: Tensor, num_frames: int) -> None:
    """Raises ValueError where (B·T, …) is not a whole number B of videos.

    A length is a number for a compiler too, which so takes B for fixed and T alone for variable. With both
    variable, each view of a video's frames costs it seconds of algebra, and a UNet's hours.
    """
    num_videos = len(range(x.shape[0] // num_frames)) if num_frames > 0 else 0
    if x.shape[0] != num_videos * num_frames:
        raise ValueError(
            f"x holds {x.shape[0]} frames, which is not a whole number of videos of {num_frames} frames."
        )


def over_time(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 3×1×1 convolution, zeros before and after: (B, C, T, S), weight (C', C, 3, 1, 1) -> (B, C', T, S).

    As a 2D convolution over frames and positions, which libraries have faster kernels for than for 3D ones.
    """
    return conv2d(x, weight.flatten(3), bias, padding=(1, 0))


def fold_upsampling(weight: Tensor) -> list[list[Tensor]]:
    """The four 2×2 kernels that a 3×3 one becomes behind a nearest-neighbour enlargement to twice the size.

    Under each of the four pixels that come from one, the nine taps fall on only four different pixels of the
    small picture; taps that fall on the same one are added. (C', C, 3, 3) -> [row][column] of (C', C, 2, 2),
    by the parity of the row and the column of the large picture.
    """
    return [list(_pairs(rows, 3)) for rows in _pairs(weight, 2)]


def _pairs(weight: Tensor, dim: int) -> Iterator[Tensor]:
    """Three taps along a dimension as the two pixels that they fall on, for either parity."""
    first, middle, last = weight.unbind(dim)
    yield torch.stack((first, middle + last), dim)
    yield torch.stack((first + middle, last), dim)


def folds(x: Tensor) -> bool:
    """Whether enlarging x is folded: in float32, since a sum of rounded taps is rounded again.

    And where folding the weights takes less time than it saves.
    """
    if x.dtype.itemsize < 4:
        return False
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return True
    return x.shape[0] * x.shape[2] * x.shape[3] >= WORTH_FOLDING


class FoldedUpsampling:
    """Enlarging to twice the height and width, then a 3×3 convolution, for many calls on tensors like x."""

    def __init__(self, weight: Tensor, bias: Tensor | None, x: Tensor):
        self._parts = [[Convolution(k, bias, x) for k in row] for row in fold_upsampling(weight)]

    def into(self, result: Tensor, padded: Tensor) -> Tensor:
        """x with a border of one, (N, C, H + 2, W + 2), to (N, C', 2H, 2W)."""
        height, width = result.shape[2] // 2, result.shape[3] // 2
        for i, row in enumerate(self._parts):
            for j, convolve in enumerate(row):
                part = padded[:, :, i : i + height + 1, j : j + width + 1]
                result[:, :, i::2, j::2] = convolve(part)
        return result


def enlarge(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Nearest-neighbour to twice the size, then a 3×3 convolution: (N, C, H, W) -> (N, C', 2H, 2W)."""
    if folds(x):
        rows, _, height, width = x.shape
        result = empty((rows, weight.shape[0], 2 * height, 2 * width), x)
        return FoldedUpsampling(weight, bias, x).into(result, functional.pad(x, (1, 1, 1, 1)))
    x = functional.interpolate(x, scale_factor=2, mode="nearest")
    return conv2d(x, weight, bias, padding=1)
