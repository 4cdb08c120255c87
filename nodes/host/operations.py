"""The host's layers as our networks use them: weights cast, moved and patched by the host, forms ours."""

from contextlib import AbstractContextManager
from types import SimpleNamespace

import comfy.ops
from torch import Tensor

from ...svd_model.networks import kernels
from ...svd_model.networks.operations import Kernel, is_unchanged


class _Computes:
    """A layer of the host's that lends its weights: cast, on the input's device, with LoRAs applied.

    Under the host's dynamic memory they are a window on a buffer that the next layer's weights overwrite, and
    their page is pinned until the block that took them ends.
    """

    @property
    def takes_kernels(self) -> bool:
        """Whether a form may stand for a call; not where a bypass LoRA is around it."""
        return is_unchanged(self)

    def weights_for(self, x: Tensor) -> AbstractContextManager[tuple[Tensor | None, Tensor | None]]:
        """Weight and bias for x, valid within the block only."""
        return comfy.ops.CastBiasWeightContext(self, x, offloadable=True)

    def compute(self, x: Tensor, form: Kernel, *options) -> Tensor:
        """x in that form of the layer."""
        comfy.ops.run_every_op()  # where the host stops a cancelled prompt
        with self.weights_for(x) as (weight, bias):
            return form(x, weight, bias, *options)


class _Linear(_Computes):
    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x, kernels.linear)

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output in two, each dense where the layer takes forms."""
        return self.compute(x, kernels.linear_halves) if self.takes_kernels else self(x).chunk(2, dim=-1)


class _OwnLinear(_Computes):
    takes_kernels = False

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output in two, views of the whole."""
        return self(x).chunk(2, dim=-1)


class _Conv2d(_Computes):
    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x, kernels.conv2d, self.stride, self.padding)


def with_kernels(operations) -> SimpleNamespace:
    """The host's operations with our forms; a Linear that multiplies in its own way (float8) keeps it."""
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
