"""Compares peers part by part on equal tensors, each in a process of its own that lives for one part."""

import json
import select
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import torch
from measure import DisagreementError, compare
from scale import Scale

PARTS = ("unet", "decode", "embed", "clip")
EIGHT_BITS = 1 / 255
LONGEST_SECONDS = 3 * 3600


class PeerProcess:
    """Process of one peer (peer.py), asked one question at a time."""

    def __init__(self, name: str, process: subprocess.Popen):
        self.name, self._process = name, process
        self.torch = self._answer()["torch"]

    def output(self) -> torch.Tensor:
        """Result of the part's first run."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "output.pt"
            self._ask(output=str(path))
            return torch.load(path, weights_only=True)

    def timed(self) -> dict:
        """Runs the part again: its seconds, and the bytes at its peak above what was in use."""
        return self._ask()

    def _ask(self, **question: str) -> dict:
        with suppress(BrokenPipeError):  # of a process that has ended, as its answer will show
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
        return self._answer()

    def _answer(self) -> dict:
        answers, _, _ = select.select([self._process.stdout], [], [], LONGEST_SECONDS)
        if not answers:
            raise subprocess.TimeoutExpired(self._process.args, LONGEST_SECONDS)
        line = self._process.stdout.readline()
        if not line:
            raise subprocess.CalledProcessError(self._process.wait(), self._process.args)
        return json.loads(line)


@contextmanager
def peer_process(name: str, command: Sequence[str], environment: dict) -> Iterator[PeerProcess]:
    """Starts a peer; ends it with the block."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, bufsize=0, **pipes) as process:
        try:
            yield PeerProcess(name, process)
        finally:
            process.kill()


def compare_parts(
    names: Sequence[str],
    parts: Sequence[str],
    scale: Scale,
    start: Callable[[str, str], AbstractContextManager[PeerProcess]],
) -> dict:
    """Compares the named peers, the first of which is ours: the version of torch, and results by part.

    start: the process of a peer for a part. "failed" of the result says why parts are missing.
    """
    found = {"torch": None, "parts": {}}
    try:
        for part in parts:
            print(f"{part}: {', '.join(names)}", flush=True)
            with ExitStack() as stack:
                # In turn, since loading takes memory.
                peers = [stack.enter_context(start(name, part)) for name in names]
                found["torch"] = peers[0].torch
                found["parts"][part] = _compare_part(part, peers, scale)
    except (subprocess.SubprocessError, OSError) as error:
        found["failed"] = str(error)
    return found


def _compare_part(part: str, peers: Sequence[PeerProcess], scale: Scale) -> dict:
    """Compares the peers in one part; if none agrees with the first, returns the reason."""
    outputs = {peer.name: peer.output() for peer in peers}
    above: dict[str, list[int]] = {peer.name: [] for peer in peers}

    def seconds(peer: PeerProcess) -> float:
        run = peer.timed()
        above[peer.name].append(run["above"])
        return run["seconds"]

    runs = {peer.name: partial(seconds, peer) for peer in peers}
    rough = part == "clip" and scale.dtype != "float32"  # many steps let single pixels drift far
    bound = scale.bound + (EIGHT_BITS if part == "clip" else 0)
    try:
        result = compare(outputs, runs, scale.pairs, bound, root_mean_square=rough)
    except DisagreementError as error:
        return {"refused": [str(error)]}
    return {**result, "above": {name: max(most) for name, most in above.items() if most}}
