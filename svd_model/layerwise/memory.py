"""Out-of-memory errors: telling them from others, retrying with less, and words for the user."""

import contextlib
import ctypes
import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import torch

from ..networks.operations import without_autocast

logger = logging.getLogger(__name__)

SHARE_OF_FREE = 0.9
"""Share of the free memory that decoding may take where no budget is set."""

_SIGNS = (
    "out of memory",
    "can't allocate memory",  # torch on the CPU, on Linux and macOS
    "not enough memory",  # on Windows
    "alloc_failed",  # cuDNN, cuBLAS
    "bad_alloc",
)


Progress = Callable[[float], None]
"""Receives the share of the work that is done, 0 to 1, several times a layer; an exception stops the work."""


def no_progress(share: float) -> None:
    """Ignores progress."""


class NotEnoughMemoryError(ValueError):
    """A budget, or a device, under the smallest budget that works, which the message names."""

    def __init__(self, message: str, smallest: int):
        super().__init__(f"{message}: raise the budget, or make the video smaller or shorter.")
        self.smallest = smallest

    @classmethod
    def of_budget(cls, budget: int, work: str, smallest: int) -> "NotEnoughMemoryError":
        """The error for a budget under the smallest that some work, in words, needs."""
        needs = f"{work} needs at least {in_units(smallest)}"
        return cls(f"the memory budget is {in_units(budget)}, and {needs}", smallest)


class Plan(Protocol):
    """Any plan that predicts its peak memory in bytes."""

    @property
    def peak(self) -> int:
        """Bytes at the most, weights not included."""


AnyPlan = TypeVar("AnyPlan", bound=Plan)
Result = TypeVar("Result")


class Planner(Protocol[AnyPlan]):
    """Any planner of some work."""

    def within(self, budget: int | None) -> AnyPlan:
        """The fastest plan within a budget; raises NotEnoughMemoryError for one under the smallest."""

    def smallest(self) -> AnyPlan:
        """The plan with the least peak."""


class BoundedPlan(Generic[AnyPlan]):
    """A plan within a budget, replaced by one for half the budget whenever memory runs out in spite of it."""

    def __init__(self, planner: Planner[AnyPlan], budget: int | None, device: torch.device):
        self._planner, self._device = planner, device
        self._budget = budget
        self.plan = planner.within(budget)

    @property
    def tight(self) -> bool:
        """Whether the plan takes more than half of the budget."""
        return self._budget is not None and 2 * self.plan.peak > self._budget

    def with_budget(self, work: Callable[[AnyPlan], Result], again: bool = True) -> Result:
        """Returns work(plan); on out-of-memory halves the budget, plans anew and retries.

        again: False for work that can't be done again, whose error is raised.
        """
        while True:
            try:
                with without_autocast(self._device):
                    return work(self.plan)
            except Exception as error:
                if not (again and is_out_of_memory(error)):
                    raise
            # Only after the except clause are the tensors of the failed call free.
            self._halve()

    def _halve(self) -> None:
        release_unused(self._device)
        least = self._planner.smallest().peak
        if self._budget is not None and self._budget <= least:
            message = f"memory ran out on {self._device} where {in_units(least)} would be enough"
            raise NotEnoughMemoryError(message, least)
        peak = self.plan.peak if self._budget is None else min(self._budget, self.plan.peak)
        self._budget = max(least, peak // 2)
        self.plan = self._planner.within(self._budget)
        logger.info("out of memory; going on with a budget of %s", in_units(self._budget))


def in_units(size: int) -> str:
    """Writes bytes in MB or GB, rounded up so that the number is enough as a budget."""
    unit, name = (10**9, "GB") if size >= 10**9 else (10**6, "MB")
    tenths = -(-10 * size // unit)
    return f"{tenths // 10}.{tenths % 10} {name}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the device or in host memory."""
    # torch's CPU allocator raises a plain RuntimeError; its GPU allocators a subclass named OutOfMemoryError.
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS)


def release_unused(device: torch.device) -> None:
    """Returns the allocator's spare memory to the system: torch's cache on a GPU, glibc's heap on a CPU."""
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()
        return
    # glibc keeps freed blocks below 32 MiB, here a hundred megabytes and more. Other libraries lack the call.
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
