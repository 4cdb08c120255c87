"""Plans of a UNet's evaluation: branches together, and pieces of its layers, within a budget of memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from ..networks.pieces import WHOLE, Pieces
from ..networks.unet import UNetParams
from .memory import NotEnoughMemoryError, in_units


@dataclass(frozen=True)
class UNetPlan:
    """One way to evaluate a UNet."""

    branches: int  # go through the UNet together
    pieces: Pieces
    peak: int  # bytes on the device at the most, weights not included
    calls: int  # of layers, a measure of the time for all branches


@dataclass(frozen=True)
class UNetPlanner:
    """Plans for latents of a size, (T, in_channels, height, width) a branch."""

    params: UNetParams
    branches: int
    num_frames: int
    height: int
    width: int
    dtype: torch.dtype
    device: torch.device

    def within(self, budget: int | None) -> UNetPlan:
        """Fastest plan within a budget; raise NotEnoughMemoryError, naming the smallest, below it."""
        if budget is None:
            return self._plans[0]
        fitting = [plan for plan in self._plans if plan.peak <= budget]
        if fitting:
            return fitting[0]
        smallest, (frames, height, width) = self.smallest(), (self.num_frames, self.height, self.width)
        message = f"the budget is {in_units(budget)}, and the UNet needs at least {in_units(smallest.peak)} "
        message += f"for {frames} frames of {width}×{height} latents"
        raise NotEnoughMemoryError(message, smallest.peak)

    def smallest(self) -> UNetPlan:
        """Plan with the least peak."""
        return min(self._plans, key=lambda plan: plan.peak)

    @cached_property
    def _plans(self) -> list[UNetPlan]:
        """All plans, the fastest first."""
        return sorted(self._candidates(), key=lambda plan: (not plan.pieces.skips_on_device, plan.calls))

    def _candidates(self) -> Iterator[UNetPlan]:
        for branches in range(self.branches, 0, -1):
            features = self.params.model_channels * self.num_frames * self.height * self.width
            peak = 21 * branches * features * self.dtype.itemsize
            yield UNetPlan(branches, WHOLE, peak, -(-self.branches // branches))
