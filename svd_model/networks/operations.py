"""Layers that the networks are built from, and the attention function: both can be replaced.

Every network takes `operations`, a namespace with Linear, Conv2d, Conv3d, GroupNorm and LayerNorm, and
`attention`, a function (q, k, v, heads). Kernels can compute these layers, and a Linear can give its output
in halves. ComfyUI passes its own layers and attention; this file has the ones for use without it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import kernels

Kernel = Callable[..., Tensor]
"""Function (x, weight, bias, …) -> output of a layer, such as kernels.linear or planes.to_tokens."""

Attention = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention softmax(q·kᵀ/√d)·v: q (B, N, heads·d), k and v (B, M, heads·d) -> (B, N, heads·d)."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # -> (B, heads, N, d)
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def backend_order(capability: tuple[int, int]) -> list[SDPBackend]:
    """Attention kernels for heads 64 wide, the fastest first, by an NVIDIA GPU's compute capability.

    From Hopper on cuDNN's kernel is faster than flash attention. The order is a rule and not a trial, so that
    a machine always gives one picture. All kernels accumulate in float32.
    """
    cudnn, flash = SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION
    first = [cudnn, flash] if capability >= (9, 0) else [flash, cudnn]
    return [*first, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@contextmanager
def fastest_attention(device: torch.device) -> Iterator[None]:
    """Context in which scaled_dot_product_attention takes the device's fastest kernel that fits."""
    if device.type != "cuda":
        yield
        return
    with sdpa_kernel(backend_order(torch.cuda.get_device_capability(device)), set_priority=True):
        yield


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Context in which a caller's autocast on the device has no effect: tensors keep their dtypes.

    Inference chooses its dtypes itself. Training, which uses autocast, calls networks outside of this.
    """
    if torch.compiler.is_compiling() or not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    if not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def is_unchanged(layer: nn.Module) -> bool:
    """Whether a call runs the forward of the layer's class: not replaced, and without module hooks."""
    return not ("forward" in vars(layer) or layer._forward_hooks or layer._forward_pre_hooks)


class _CastsWeights:
    """Layer that keeps weights in their stored dtype and casts them to the input's dtype at each call.

    So a float16 or float8 file is computed in float32 without a float32 copy of the whole network, and
    weights in host memory are copied to the input's device.
    """

    @property
    def takes_kernels(self) -> bool:
        """Whether a kernel may replace a call: only where the output depends on weights and input alone."""
        return is_unchanged(self)

    def reset_parameters(self) -> None:
        """Leave the parameters empty; a checkpoint has their values."""

    @contextmanager
    def weights_for(self, x: Tensor) -> Iterator[tuple[Tensor | None, Tensor | None]]:
        """Weight and bias in the dtype and on the device of x, valid within the block only.

        A host only lends them: after the block their memory may hold weights of another layer.
        """
        yield self._cast(x)

    def compute(self, x: Tensor, kernel: Kernel, *options) -> Tensor:
        """Output of a kernel for x and the layer's weights, cast to the dtype and the device of x."""
        return kernel(x, *self._cast(x), *options)

    def _cast(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        weight, bias = self.weight, self.bias
        target = {"device": x.device, "dtype": x.dtype, "non_blocking": True}  # without a wait where pinned
        return (
            None if weight is None else weight.to(**target),
            None if bias is None else bias.to(**target),
        )


class CastingOperations:
    """Layers of torch without initialisation, their weights cast to the dtype of the input."""

    class Linear(_CastsWeights, nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return self.compute(x, kernels.linear)

        def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
            """Output in two halves, (…, C'/2) each, dense where the layer takes kernels."""
            return self.compute(x, kernels.linear_halves) if self.takes_kernels else self(x).chunk(2, dim=-1)

    class Conv2d(_CastsWeights, nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return self.compute(x, kernels.conv2d, self.stride, self.padding)

    class Conv3d(_CastsWeights, nn.Conv3d):
        def forward(self, x: Tensor) -> Tensor:
            return self._conv_forward(x, *self._cast(x))

    class GroupNorm(_CastsWeights, nn.GroupNorm):
        def forward(self, x: Tensor) -> Tensor:
            return functional.group_norm(x, self.num_groups, *self._cast(x), self.eps)

    class LayerNorm(_CastsWeights, nn.LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            return functional.layer_norm(x, self.normalized_shape, *self._cast(x), self.eps)


def empty_parameter(
    *shape: int, dtype: torch.dtype | None, device: torch.device | str | None
) -> nn.Parameter:
    """Parameter without values, for the few weights that belong to no layer."""
    return nn.Parameter(torch.empty(*shape, dtype=dtype, device=device))
