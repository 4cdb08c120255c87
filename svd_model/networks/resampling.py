"""Layers that change the height and width of features in a UNet; a VAE enlarges with them, too."""

from torch import Tensor, nn
from torch.nn import functional

from . import kernels, planes
from .pieces import WHOLE, Pieces


class Downsample(nn.Module):
    """Convolution of stride 2, which halves height and width."""

    def __init__(self, channels: int, operations, **factory):
        super().__init__()
        self.op = operations.Conv2d(channels, channels, 3, stride=2, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def enlarged_units(in_planes: bool) -> int:
    """Temporary tensors of an upsampling, in sizes of its input: enlarged features, and their convolution.

    A GPU's convolution copies both to another layout.
    """
    return 16 if in_planes else 8


class Upsample(nn.Module):
    """Nearest-neighbour enlargement to twice the height and width, then a convolution."""

    def __init__(self, channels: int, operations, **factory):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, padding=1, **factory)

    def forward(self, x: Tensor, pieces: Pieces = WHOLE) -> Tensor:
        """Enlarge features: (N, C, H, W) -> (N, C, 2H, 2W)."""
        each = enlarged_units(planes.used(x)) * x[0].numel() * x.dtype.itemsize
        if pieces.hold(len(x) * each):
            return self._enlarged(x)
        rows, channels, height, width = x.shape
        result = kernels.empty((rows, channels, 2 * height, 2 * width), x)
        for frames in pieces.groups(rows, each):
            result[frames] = self._enlarged(x[frames])
        return result

    def _enlarged(self, x: Tensor) -> Tensor:
        if self.conv.takes_kernels:
            return self.conv.compute(x, kernels.enlarge)
        return self.conv(functional.interpolate(x, scale_factor=2, mode="nearest"))
