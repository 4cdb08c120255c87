"""Linear layers that multiply in float8, for hardware that has it: faster and half the memory, not exact.

Weights and inputs as e4m3 numbers with one float32 scale a tensor, sums in float32 (Micikevicius et al., "FP8
Formats for Deep Learning", 2022).
"""

import torch
from torch import Tensor, nn

from .operations import CastingOperations

FORMAT = torch.float8_e4m3fn
_LARGEST = torch.finfo(FORMAT).max
_MULTIPLE = 16
"""Of both sides of a weight that the multiplication takes."""


class Float8Operations(CastingOperations):
    """Those of `CastingOperations` with other Linear layers; call `quantise` when the weights are there."""

    class Linear(CastingOperations.Linear):
        scale: Tensor | None = None

        def quantise(self) -> None:
            """Rounds the weight to float8; one whose sides don't fit stays as it is."""
            if self.weight.shape[0] % _MULTIPLE or self.weight.shape[1] % _MULTIPLE:
                return
            weight, self.scale = _rounded(self.weight)
            self.weight = nn.Parameter(weight, requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            if self.scale is None:
                return super().forward(x)
            rows, scale = _rounded(x.flatten(0, -2))
            out_dtype = torch.bfloat16 if x.dtype == torch.float32 and x.device.type != "cpu" else x.dtype
            result = torch._scaled_mm(rows, self.weight.t(), scale, self.scale, out_dtype=out_dtype)
            result = result.to(x.dtype)
            if self.bias is not None:
                result = result.add_(self.bias.to(x.dtype))
            return result.unflatten(0, x.shape[:-1])


def supported(device: torch.device) -> bool:
    """Whether the device multiplies float8 in hardware: NVIDIA's from Ada and Hopper on."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def quantise(network: nn.Module) -> nn.Module:
    """Rounds the weights of all its float8 layers."""
    for layer in network.modules():
        if isinstance(layer, Float8Operations.Linear):
            layer.quantise()
    return network


def _rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """The tensor in float8 and the scale, float32, that it must be multiplied with."""
    scale = (x.abs().amax().float() / _LARGEST).clamp_(min=1e-12)
    return (x / scale.to(x.dtype)).clamp_(-_LARGEST, _LARGEST).to(FORMAT), scale
