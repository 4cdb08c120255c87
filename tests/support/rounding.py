"""Bounds on rounding that follow from the computation, and so hold on every processor."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TIMES = 4
"""Another order of the additions errs by about as much as the plain one; this often, it is something else."""

FLOOR = 8 * torch.finfo(torch.float32).eps
"""The error, of the largest magnitude, that is let pass where the plain layer happens to be exact."""


@dataclass(frozen=True)
class Reference:
    """One result as plain float32 layers compute it, and as they do in float64."""

    plain: Tensor
    exact: Tensor

    @classmethod
    def of(cls, run: Callable[..., Tensor], plain: nn.Module, exact: nn.Module, *inputs: Tensor):
        """Calls run(network, *inputs) for a float32 network and its float64 copy."""
        with torch.no_grad():
            return cls(run(plain, *inputs), run(exact, *(each.double() for each in inputs)))

    def error(self, found: Tensor) -> float:
        """The largest error of a result, in those that are allowed: above 1 is too much."""
        largest = self.exact.abs().max()
        allowed = TIMES * (self.plain - self.exact).abs().max() + FLOOR * largest
        return ((found - self.exact).abs().max() / allowed).item()
