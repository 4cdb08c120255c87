"""The layers that the networks are built from, and the attention function: both can be replaced.

Every network takes `operations`, a namespace with Linear, Conv2d, Conv3d, GroupNorm and LayerNorm whose
layers can also be computed in another form, a Linear by halves, and `attention`, a function (q, k, v, heads).
ComfyUI passes its own of both; these are the ones used without it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import kernels

Kernel = Callable[..., Tensor]
"""(x, weight, bias, …) -> the layer's output: one of `forms`."""

Attention = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """softmax(q·kᵀ/√d)·v for each head: q (B, N, heads·d), k and v (B, M, heads·d) -> (B, N, heads·d)."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # -> (B, heads, N, d)
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def backend_order(capability: tuple[int, int]) -> list[SDPBackend]:
    """The fused kernels for heads 64 wide, the fastest first, by the compute capability of an NVIDIA GPU.

    cuDNN's is the faster one from Hopper on. A rule and not a trial: the same machine must always give the
    same picture. All of them accumulate in float32.
    """
    cudnn, flash = SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION
    first = [cudnn, flash] if capability >= (9, 0) else [flash, cudnn]
    return [*first, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@contextmanager
def fastest_attention(device: torch.device) -> Iterator[None]:
    """Within it, scaled_dot_product_attention takes the fastest kernel of the device that fits."""
    if device.type != "cuda":
        yield
        return
    with sdpa_kernel(backend_order(torch.cuda.get_device_capability(device)), set_priority=True):
        yield


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Within it, computing on the device is in the dtypes that the tensors have, also in a caller's autocast.

    Inference chooses its dtypes itself. Training, which does use autocast, calls the networks without this.
    """
    if torch.compiler.is_compiling() or not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    if not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def is_unchanged(layer: nn.Module) -> bool:
    """Whether a call of the layer is what its class says: no other forward in its place, and no hooks."""
    return not ("forward" in vars(layer) or layer._forward_hooks or layer._forward_pre_hooks)


class _CastsWeights:
    """A layer whose weights stay as they are stored and follow the input's dtype at each call.

    A float16 or float8 file can so be computed in float32 without a float32 copy of the whole network.
    """

    @property
    def takes_kernels(self) -> bool:
        """Whether a form may stand for a call; not where something else than its weights counts."""
        return is_unchanged(self)

    def reset_parameters(self) -> None:
        """Nothing: the values come from a checkpoint."""

    @contextmanager
    def weights_for(self, x: Tensor) -> Iterator[tuple[Tensor | None, Tensor | None]]:
        """Weight and bias in the dtype of x, valid within the block only.

        A host lends them: after the block their memory may hold another layer's. Copy what is to be kept.
        """
        yield self._cast(x)

    def compute(self, x: Tensor, form: Kernel, *options) -> Tensor:
        """x in that form of the layer, with its weights as they are for x."""
        return form(x, *self._cast(x), *options)

    def _cast(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        weight, bias = self.weight, self.bias
        return (
            None if weight is None else weight.to(x.dtype),
            None if bias is None else bias.to(x.dtype),
        )


class CastingOperations:
    """torch's layers without initialisation, their weights cast to the dtype of the input."""

    class Linear(_CastsWeights, nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return self.compute(x, kernels.linear)

        def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
            """The output in two, (…, C'/2) each: dense where the layer takes forms."""
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
    """A parameter without values yet, for the few weights that belong to no layer."""
    return nn.Parameter(torch.empty(*shape, dtype=dtype, device=device))
