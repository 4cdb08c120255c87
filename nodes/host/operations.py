"""Layers of the host for our networks: the host casts, moves and patches weights, our kernels compute."""

from contextlib import AbstractContextManager
from types import SimpleNamespace

import comfy.ops
from torch import Tensor

from ...svd_model.networks import kernels
from ...svd_model.networks.operations import Kernel, is_unchanged


class _Computes:
    """Layer of the host that lends its weights: cast, on the input's device, with LoRAs applied.

    Under the host's dynamic memory weights are a window on a buffer that the next layer's weights overwrite.
    Their page is pinned until the block that borrows them ends.
    """

    @property
    def takes_kernels(self) -> bool:
        """Whether a kernel may replace a call: not where a bypass LoRA is around the layer."""
        return is_unchanged(self)

    def weights_for(self, x: Tensor) -> AbstractContextManager[tuple[Tensor | None, Tensor | None]]:
        """Weight and bias for x, valid within the block only."""
        return comfy.ops.CastBiasWeightContext(self, x, offloadable=True)

    def compute(self, x: Tensor, kernel: Kernel, *options) -> Tensor:
        """Output of a kernel for x and the layer's weights."""
        comfy.ops.run_every_op()  # here the host stops a cancelled prompt
        with self.weights_for(x) as (weight, bias):
            return kernel(x, weight, bias, *options)


class _Linear(_Computes):
    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x, kernels.linear)

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output in two halves, each dense where the layer takes kernels."""
        return self.compute(x, kernels.linear_halves) if self.takes_kernels else self(x).chunk(2, dim=-1)


class _OwnLinear(_Computes):
    takes_kernels = False

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output in two halves, views of the whole."""
        return self(x).chunk(2, dim=-1)


class _Conv2d(_Computes):
    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x, kernels.conv2d, self.stride, self.padding)


def with_kernels(operations) -> SimpleNamespace:
    """Operations of the host with our kernels. A Linear that multiplies in its own way (float8) keeps it."""
    plain = comfy.ops.disable_weight_init.Linear.forward_comfy_cast_weights
    own = getattr(operations.Linear, "forward_comfy_cast_weights", None) is not plain
    bases = {
        "Linear": _OwnLinear if own else _Linear,
        "Conv2d": _Conv2d,
        "Conv3d": _Computes,
        "GroupNorm": _Computes,
        "LayerNorm": _Computes,
    }
    return SimpleNamespace(
        **{name: type(name, (base, getattr(operations, name)), {}) for name, base in bases.items()}
    )
