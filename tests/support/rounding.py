"""Bounds on rounding that follow from the computation, and so hold on every processor."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

TIMES = 4
"""Allowed multiple of the plain layer's error: another order of additions errs about as much."""

FLOOR = 8 * torch.finfo(torch.float32).eps
"""Error relative to the largest magnitude that is allowed even if the plain layer happens to be exact."""


@dataclass(frozen=True)
class Reference:
    """A result of plain layers in float32, and in float64."""

    plain: Tensor
    exact: Tensor

    @classmethod
    def of(cls, run: Callable[..., Tensor], plain: nn.Module, exact: nn.Module, *inputs: Tensor):
        """Calls run(network, *inputs) for a float32 network and its float64 copy."""
        with torch.no_grad():
            return cls(run(plain, *inputs), run(exact, *(each.double() for each in inputs)))

    def error(self, result: Tensor) -> float:
        """Largest error of a result, in units of the allowed error: above 1 is too large."""
        largest = self.exact.abs().max()
        allowed = TIMES * (self.plain - self.exact).abs().max() + FLOOR * largest
        return ((result - self.exact).abs().max() / allowed).item()
