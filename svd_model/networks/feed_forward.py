"""Feed-forward layer of a transformer block. Attribute names are the checkpoint's keys."""

from torch import Tensor, nn

from . import kernels


class GEGLU(nn.Module):
    """Gated linear layer, value·gelu(gate), with both halves from one projection (Shazeer, 2020)."""

    def __init__(self, dim: int, inner_dim: int, operations, **factory):
        super().__init__()
        self.proj = operations.Linear(dim, 2 * inner_dim, **factory)

    def forward(self, x: Tensor) -> Tensor:
        return kernels.gated(*self.proj.halves(x))


class FeedForward(nn.Module):
    """Feed-forward layer: GEGLU to four times the width, then a linear layer back."""

    def __init__(self, dim: int, operations, **factory):
        super().__init__()
        inner_dim = 4 * dim
        # The reference has a dropout at index 1: the checkpoint's keys are net.0 and net.2.
        self.net = nn.Sequential(
            GEGLU(dim, inner_dim, operations, **factory),
            nn.Identity(),
            operations.Linear(inner_dim, dim, **factory),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
