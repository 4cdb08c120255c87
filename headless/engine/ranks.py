"""Ranks: processes that make one clip together, and what they tell each other. The only file that knows
torch.distributed.

Numbers travel by NCCL between GPUs and by gloo between CPUs; what the host says goes by gloo alone, so that
no GPU waits for it.
"""

import contextlib
import datetime
import os
import sys
from collections.abc import Sequence
from functools import wraps

import torch
from torch import Tensor, distributed

from ...svd_model.layerwise import is_out_of_memory
from .devices import find_device

SECONDS_ON_GPUS, SECONDS_ELSEWHERE = 120.0, 1800.0
"""How long ranks wait for each other: on CPUs an evaluation of a released checkpoint takes minutes."""

PATIENCE = datetime.timedelta(days=2)
"""How long they wait for one that writes a file."""

_PLACES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that torchrun, or `commands/ranks.py`, sets for each rank."""


class RankLostError(ConnectionError):
    """Another rank has ended, or does not answer."""


def available() -> bool:
    """Whether this torch was built with what ranks need."""
    return distributed.is_available()


def started() -> int | None:
    """How many ranks this process is one of, where it was started as one; else None."""
    if not all(os.environ.get(name) for name in _PLACES):
        return None
    return int(os.environ["WORLD_SIZE"])


def is_first() -> bool:
    """Whether this process is the one that writes and prints: rank 0, or the only one."""
    return started() is None or int(os.environ["RANK"]) == 0


def by_torchrun() -> bool:
    """Whether torchrun has started this process as one of several ranks."""
    return available() and distributed.is_torchelastic_launched() and (started() or 1) > 1


def own_device(name: str | torch.device | None) -> torch.device:
    """The device of this rank: of several GPUs the one with its number on the machine.

    The others are not touched, where a look alone takes memory. Raises ValueError for a missing device.
    """
    device = find_device(None) if name is None else name
    if str(device).partition(":")[0] == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    return find_device(device)


def abandon(status: int) -> None:
    """Ends a process that has joined ranks and lost them: taking leave would wait for them, or abort."""
    if not (available() and distributed.is_initialized()):
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def _together(method):
    """Decorates what all ranks do together; raises RankLostError where one of them doesn't."""

    @wraps(method)
    def call(self, *args, **options):
        try:
            return method(self, *args, **options)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            cause = str(error).partition("\n")[0]
            raise RankLostError(
                f"{self._who} has lost another one, which has ended or not answered for "
                f"{self._seconds:g} s; what that one says is the reason. PyTorch says: {cause}"
            ) from error

    return call


class Group:
    """A process's place among some that work together, and the operations that all of them do.

    Each is called by all of them in the same order, with tensors of equal shapes and dtypes.
    """

    def __init__(self, rank: int, members: Sequence[int], who: str, seconds: float, group=None):
        self.rank, self.size = rank, len(members)  # in the group
        self._members, self._who, self._seconds, self._group = members, who, seconds, group

    @_together
    def gather(self, x: Tensor) -> Tensor:
        """The tensors of all, in their order: (…) -> (ranks, …)."""
        found = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(self.size)]
        distributed.all_gather(found, x.contiguous(), self._group)
        return torch.stack(found)

    @_together
    def pass_on(self, x: Tensor, into: Tensor, step: int, ring: bool) -> bool:
        """Sends x to the rank `step` further, and receives from the one as far behind; whether one is there.

        step: 1 or −1. into: what is received, like x and contiguous. ring: whether the first rank is beside
        the last.
        """
        target, source = self.rank + step, self.rank - step
        work = []
        if ring or 0 <= target < self.size:
            work.append(self._peer(distributed.isend, x.contiguous(), target))
        receives = ring or 0 <= source < self.size
        if receives:
            work.append(self._peer(distributed.irecv, into, source))
        for request in distributed.batch_isend_irecv(work) if work else ():
            request.wait()
        return receives

    @_together
    def swap(self, x: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """Sends so many numbers of x, (N,), to each rank in order, and receives so many of each: (M,)."""
        found = x.new_empty(sum(received))
        distributed.all_to_all_single(found, x, list(received), list(sent), self._group)
        return found

    def _peer(self, work, x: Tensor, rank: int) -> "distributed.P2POp":
        return distributed.P2POp(work, x, self._members[rank % self.size], self._group)


class Ranks(Group):
    """A process's place among those that make one clip, and the operations that all of them do together."""

    def __init__(self, rank: int, size: int, device: torch.device, seconds: float):
        super().__init__(rank, range(size), f"rank {rank} of {size}", seconds)
        self.device = device
        self._host = None  # the group of what the host says
        self._groups: dict[int, Group] = {}  # of this rank, by their sizes

    @classmethod
    def join(cls, device: str | torch.device | None = None, seconds: float | None = None) -> "Ranks":
        """Joins the ranks that torchrun started with this one; waits until all have come.

        device: "cuda" is the GPU of the rank's own number, and the usual one where there are some. seconds:
        how long ranks wait for each other, by default as long as the device may take. Raises RankLostError
        where one does not come, ValueError for another device, and where the process was not started as a
        rank.
        """
        if started() is None:
            raise ValueError("this process was not started as one of several ranks; start it by torchrun.")
        device = own_device(device)
        if device.type not in ("cpu", "cuda"):
            raise ValueError(f"ranks go with the devices cuda and cpu, and not with {device}; give cpu.")
        on_gpu = device.type == "cuda"
        if seconds is None:
            seconds = SECONDS_ON_GPUS if on_gpu else SECONDS_ELSEWHERE
        found = cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), device, seconds)
        if on_gpu:
            torch.cuda.set_device(device)
        found._connect("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
        return found

    @_together
    def _connect(self, backend: str) -> None:
        timeout = datetime.timedelta(seconds=self._seconds)
        distributed.init_process_group(backend, rank=self.rank, world_size=self.size, timeout=timeout)
        self._host = distributed.new_group(backend="gloo", timeout=timeout)
        distributed.barrier(self._host)

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and prints."""
        return self.rank == 0

    @_together
    def group(self, size: int) -> Group:
        """The group of this rank, where each `size` ranks in a row are one; their number divides all."""
        if size not in self._groups:
            timeout = datetime.timedelta(seconds=self._seconds)
            for first in range(0, self.size, size):  # by all ranks, their own or not
                members = range(first, first + size)
                group = distributed.new_group(list(members), timeout=timeout)
                if self.rank in members:
                    place = self.rank - first, members, self._who, self._seconds
                    self._groups[size] = Group(*place, group)
        return self._groups[size]

    @_together
    def agree(self, yes: bool) -> bool:
        """Whether all ranks say yes."""
        answer = torch.tensor([int(yes)], dtype=torch.int32, device="cpu")
        distributed.all_reduce(answer, distributed.ReduceOp.MIN, self._host)
        return bool(answer)

    @_together
    def wait(self) -> None:
        """Waits for all ranks, as long as one of them takes to write a file."""
        distributed.monitored_barrier(self._host, timeout=PATIENCE)

    def leave(self) -> None:
        """Ends what the process has with the others, after all work."""
        distributed.destroy_process_group()
