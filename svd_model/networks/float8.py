"""Linear layers that multiply in float8, for hardware that has it: faster and half the memory, not exact.

Weights and inputs are e4m3 numbers with one float32 scale a tensor. Sums are in float32 (Micikevicius et al.,
"FP8 Formats for Deep Learning", 2022).
"""

import torch
from torch import Tensor, nn

from .operations import CastingOperations, is_unchanged

FORMAT = torch.float8_e4m3fn
_LARGEST = torch.finfo(FORMAT).max
_MULTIPLE = 16
"""Divisor of both sides of a weight that the multiplication takes."""


class Float8Operations(CastingOperations):
    """Layers of CastingOperations, with Linear in float8. Call `quantise` after loading the weights."""

    class Linear(CastingOperations.Linear):
        scale: Tensor | None

        def __init__(self, *sizes: int, **options):
            super().__init__(*sizes, **options)
            self.register_buffer("scale", None, persistent=False)  # which goes where the weight goes

        @property
        def takes_kernels(self) -> bool:
            """Whether a kernel may replace a call: only where the weight is not quantised."""
            return self.scale is None and super().takes_kernels

        def quantise(self) -> None:
            """Round the weight to float8, unless its sides don't fit."""
            if self.weight.shape[0] % _MULTIPLE or self.weight.shape[1] % _MULTIPLE:
                return
            weight, self.scale = _rounded(self.weight)
            self.weight = nn.Parameter(weight, requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            if self.scale is None:
                return super().forward(x)
            return self._product(*_rounded(x.flatten(0, -2)), slice(None), x)

        def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
            if self.scale is None or self.weight.shape[0] % (2 * _MULTIPLE) or not is_unchanged(self):
                return super().halves(x)
            rows, scale = _rounded(x.flatten(0, -2))
            half = self.weight.shape[0] // 2
            return tuple(self._product(rows, scale, part, x) for part in (slice(half), slice(half, None)))

        def _product(self, rows: Tensor, scale: Tensor, part: slice, x: Tensor) -> Tensor:
            """Product of rounded rows of x and a part of the weight, in the shape and dtype of x."""
            out_dtype = torch.bfloat16 if x.dtype == torch.float32 and x.device.type != "cpu" else x.dtype
            bias = None if self.bias is None else self.bias[part].to(x.dtype)
            fused = bias if x.dtype.itemsize == 2 else None
            factors = (rows, self.weight[part].t(), scale, self.scale)
            result = torch._scaled_mm(*factors, bias=fused, out_dtype=out_dtype).to(x.dtype)
            if bias is not None and fused is None:
                result = result.add_(bias)
            return result.unflatten(0, x.shape[:-1])


def supported(device: torch.device) -> bool:
    """Whether the device multiplies float8 in hardware, as NVIDIA GPUs do from Ada and Hopper on."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def quantise(network: nn.Module) -> nn.Module:
    """Round the weights of all float8 layers of a network, in place, and return it."""
    for layer in network.modules():
        if isinstance(layer, Float8Operations.Linear):
            layer.quantise()
    return network


def _rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Tensor rounded to float8, and its scale, a float32 factor back to x."""
    least, most = x.aminmax()
    scale = (torch.maximum(-least, most).float() / _LARGEST).clamp_(min=1e-12)
    return (x / scale.to(x.dtype)).clamp_(-_LARGEST, _LARGEST).to(FORMAT), scale
