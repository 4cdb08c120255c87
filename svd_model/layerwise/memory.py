"""Running out of memory: telling it apart from other errors, and saying so."""

import contextlib
import ctypes
import logging
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import torch

from ..networks.operations import without_autocast

logger = logging.getLogger(__name__)

SHARE_OF_FREE = 0.9
"""Of the memory that is free, what decoding may take where no budget is given."""

_SIGNS = (
    "out of memory",
    "can't allocate memory",  # torch on the CPU, on Linux and macOS
    "not enough memory",  # on Windows
    "alloc_failed",  # cuDNN, cuBLAS
    "bad_alloc",
)


Progress = Callable[[float], None]
"""Called several times a layer with the share of the work that is done, 0 to 1; what it raises stops it."""


def silent(done: float) -> None:
    """The progress of who needs none."""


class NotEnoughMemoryError(ValueError):
    """A budget, or a device, under the smallest that works; the message names that one."""

    def __init__(self, message: str, smallest: int):
        super().__init__(f"{message}: raise the budget, or make the video smaller or shorter.")
        self.smallest = smallest


class Plan(Protocol):
    """Whatever tells beforehand how much memory it will take."""

    @property
    def peak(self) -> int:
        """Bytes at the most, weights not included."""


AnyPlan = TypeVar("AnyPlan", bound=Plan)
Result = TypeVar("Result")


class Bounded(Generic[AnyPlan]):
    """A plan within a budget, made anew for half of it whenever memory runs out all the same."""

    def __init__(self, make: Callable[[int | None], AnyPlan], budget: int | None, device: torch.device):
        self._make, self._device = make, device
        self._budget = budget
        self.plan = make(budget)

    @property
    def tight(self) -> bool:
        """Whether the plan takes a good part of the budget."""
        return self._budget is not None and 2 * self.plan.peak > self._budget

    def attempt(self, work: Callable[[AnyPlan], Result]) -> Result:
        """What work(plan) returns; on an out-of-memory it is called again with a smaller plan."""
        while True:
            try:
                with without_autocast(self._device):
                    return work(self.plan)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Here, after the except clause, nothing holds the tensors of the failed call any more.
            self._halve()

    def _halve(self) -> None:
        release_unused(self._device)
        least = self._budget
        self._budget = self.plan.peak // 2 if least is None else min(least, self.plan.peak) // 2
        try:
            self.plan = self._make(self._budget)
        except NotEnoughMemoryError as error:
            if least is not None and least <= error.smallest:
                message = f"memory ran out on {self._device} where {in_units(error.smallest)} would be enough"
                raise NotEnoughMemoryError(message, error.smallest) from error
            self._budget = error.smallest
            self.plan = self._make(self._budget)
        logger.info("out of memory; going on with a budget of %s", in_units(self._budget))


def in_units(size: int) -> str:
    """Bytes as people write them, rounded up, so that the number is enough."""
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
    """Gives the allocator's spare memory back to the system."""
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()
        return
    # glibc keeps freed blocks below 32 MiB, here a hundred megabytes and more. Others have no such call.
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
