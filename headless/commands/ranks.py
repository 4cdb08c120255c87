"""The processes of `--gpus N`: started here or by torchrun, joined, and ended together."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

import torch

from ...clips import guiding
from ...clips.mistakes import Mistakes
from ...clips.plan import Plan
from ...svd_model.checkpoint import Checkpoint
from ..engine import parallel, ranks
from ..engine.devices import find_device
from ..engine.fit import latent_size
from ..engine.ranks import Ranks
from ..files.sources import STANDARD_INPUT
from .statuses import CUT_SHORT, INTERRUPTED, OK, REFUSED

PATIENCE = 5.0
"""Seconds that ranks have to end by themselves where one has ended."""

_PARENT = "STILLMOTION_PARENT"
"""Variable with the process that has started a rank, without which it ends."""


def count(options: Namespace) -> int:
    """How many ranks make the clips; raises ValueError for a number that can't be."""
    started = ranks.started() if options.gpus is not None or ranks.by_torchrun() else None
    if started is None:
        return options.gpus or 1
    if options.gpus not in (None, started):
        raise ValueError(f"--gpus is {options.gpus}, and {started} ranks were started; leave it out.")
    return started


def are_to_start(options: Namespace, mistakes: Mistakes) -> bool:
    """Whether this process is to start the ranks, and not one of them; adds mistakes that rule them out."""
    check(options, mistakes)
    return not mistakes.any and count(options) > 1 and ranks.started() is None


def is_first(options: Namespace) -> bool:
    """Whether this process writes and prints."""
    return count(options) == 1 or ranks.is_first()


def check(options: Namespace, mistakes: Mistakes) -> None:
    """Adds mistakes on the device, and on what several ranks have no way to."""
    with mistakes.collected():
        device = own_device(options)
        if count(options) == 1:
            return
        if not ranks.available():
            raise ValueError("--gpus needs torch.distributed, which this torch was built without.")
        if os.name == "nt":
            raise ValueError("--gpus needs Linux or macOS; on Windows it runs in WSL.")
        named = options.device or device.type
        if named not in ("cpu", "cuda"):
            raise ValueError(f"--gpus goes with the devices cuda and cpu, and not with {named}.")
        there = torch.cuda.device_count()
        if device.type == "cuda" and ranks.started() is None and there < options.gpus:
            raise ValueError(f"--gpus is {options.gpus}, and this machine has {there} of them.")
        if STANDARD_INPUT in options.images:
            raise ValueError("--gpus can't go with a picture on standard input; name its file.")


def check_work(options: Namespace, plan: Plan, checkpoint: Checkpoint) -> None:
    """Raises ValueError for more ranks than a clip has work for."""
    branches, several = guiding.most_branches(plan.settings), count(options)
    together, rest = divmod(several, branches)
    if several <= branches:
        return
    if rest:
        raise ValueError(
            f"--gpus is {several}, and this clip's guidance compares {branches} estimates, each on one "
            f"GPU or on as many as another; give --gpus {branches} or {branches * (together + 1)}."
        )
    _, height, width = latent_size(checkpoint, plan)
    size = min(plan.run_frames), height, width
    reason = _why_whole(options) or parallel.why_whole(size, checkpoint.unet.params, together)
    if reason:
        raise ValueError(
            f"--gpus is {several}, which would divide the frames of each estimate among {together} GPUs, and "
            f"{reason}; give --gpus {branches}, or fewer."
        )


def _why_whole(options: Namespace) -> str | None:
    """Why frames don't divide among ranks, in words, where options say so."""
    chosen = {"--control": options.control, "--reference": options.reference, "--compile": options.compile}
    chosen["--linear-dtype"] = options.linear_dtype
    names = [name for name, value in chosen.items() if value]
    return f"{' and '.join(names)} can't go with that" if names else None


def doubts(options: Namespace, plan: Plan) -> Iterator[str]:
    """A sentence where guidance has nothing to divide."""
    if count(options) == 1 or guiding.compares(plan.settings, plan.scales):
        return
    together = count(options) // guiding.most_branches(plan.settings)
    if together > 1:
        yield f"guidance is 1 and compares nothing: {together} GPUs divide the sampling, which others repeat."
    else:
        yield "guidance is 1 and compares nothing: the GPUs divide the decoding alone, and not the sampling."


def own_device(options: Namespace) -> torch.device:
    """The device of this process; raises ValueError where it has none."""
    if count(options) == 1:
        return find_device(options.device)
    if ranks.started() is not None:
        return ranks.own_device(options.device)
    # This process starts the ranks: it touches no GPU, which would take memory there until the end.
    on_gpus = options.device in (None, "cuda") and torch.cuda.is_available()
    return torch.device("cuda") if on_gpus else find_device(options.device)


@contextmanager
def joined(options: Namespace) -> Iterator[Ranks | None]:
    """A context in which the process is one of the ranks, after an error for good; None where it is alone."""
    found = None if count(options) == 1 else Ranks.join(options.device)
    yield found
    if found is not None:
        found.leave()


def run(words: Sequence[str], several: int, say: Callable[[str], None]) -> int:
    """Runs the command in several ranks, which end together; the exit status.

    Rank 0 prints for itself. What another one says is printed where that one is the reason of the end.
    """
    with ExitStack() as stack:
        told = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(several)]
        processes = _start(words, several, told)
        try:
            first = _first_failure(processes)
            if first is None:
                return OK
            _end(processes)
        except KeyboardInterrupt:
            return INTERRUPTED  # as rank 0 says
        finally:
            _end(processes, at_once=True)
        status = processes[0].returncode
        if status > 0 and (first == 0 or status not in (CUT_SHORT, INTERRUPTED)):
            return status
        say(_reason(first, processes[first].returncode, told[first]))
        return REFUSED


def watch_parent() -> None:
    """Has the process end with the one that has started it as a rank, however that one ends."""
    parent = int(os.environ.get(_PARENT, 0))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)  # so that no half-written file is left
        time.sleep(PATIENCE)
        os._exit(CUT_SHORT)

    if parent and hasattr(os, "getppid"):
        threading.Thread(target=watch, daemon=True).start()


def _start(words: Sequence[str], several: int, told: Sequence[BinaryIO]) -> list[subprocess.Popen]:
    package = __package__.removesuffix(".headless.commands")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(several), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {_PARENT: str(os.getpid())}
    threads = str(max(1, (os.cpu_count() or 1) // several))
    processes = []
    for rank in range(several):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", package, *words],
                env={"OMP_NUM_THREADS": threads, **os.environ, **common, **own},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if rank else None,
                stderr=told[rank] if rank else None,
                start_new_session=True,  # an interrupt from the keyboard comes through this process, once
            )
        )
    return processes


def _first_failure(processes: Sequence[subprocess.Popen]) -> int | None:
    """Waits until all ranks have ended well, or one badly: its number, and not of one that lost another."""
    lost = None
    while True:
        states = [process.poll() for process in processes]
        failed = [rank for rank, state in enumerate(states) if state]
        reasons = [rank for rank in failed if states[rank] != CUT_SHORT]
        if reasons:
            return reasons[0]
        if failed:  # the end of a rank that is lost is seen a moment later
            lost = lost or time.monotonic()
            if time.monotonic() - lost > PATIENCE:
                return failed[0]
        elif None not in states:
            return None
        time.sleep(0.05)


def _end(processes: Sequence[subprocess.Popen], at_once: bool = False) -> None:
    """Ends all ranks: those that don't end by themselves by an interrupt, and then by force."""
    ways = [lambda process: process.send_signal(signal.SIGINT), lambda process: process.kill()]
    for way in ways if at_once else [lambda process: None, *ways]:
        for process in processes:
            if process.poll() is None:
                way(process)
        end = time.monotonic() + PATIENCE
        while any(process.poll() is None for process in processes) and time.monotonic() < end:
            time.sleep(0.05)


def _reason(rank: int, status: int, told: BinaryIO) -> str:
    told.seek(0)
    words = told.read().decode(errors="replace").strip()
    if status < 0 or not words:
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        words = f"error: it ended by {how}, as where memory runs out. {words}".rstrip()
    return f"rank {rank}: {words}"
