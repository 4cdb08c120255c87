"""Process of one peer, which computes one part of the benchmark when it is asked to.

python peer.py NAME SCALE PATH PART [HOST]

A line of JSON comes for each question and goes for each answer: {"output": FILE} prepares the part, runs it
once and saves its result; {} runs it again and answers seconds, and bytes above what was in use.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from load import peak
from scale import Inputs, Scale, find_modules, make_inputs
from torch import Tensor
from weights import single_file

NETWORKS = {
    "unet": ("unet",),
    "decode": ("decoder",),
    "embed": ("vision",),
    "clip": ("unet", "vision", "vae"),
}
"""Networks that each part runs, as core's loader names them."""


def main() -> None:
    """Answers questions until their end."""
    name, text, path, part, *host = sys.argv[1:]
    scale = Scale.from_json(text)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a peer prints is no answer

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    find_modules()
    peer = load(name, scale, Path(path), part, host)
    inputs = make_inputs(scale, 64 if scale.quick else 1024, plain_picture=bool(host))
    answer(torch=torch.__version__)
    call = None
    for line in sys.stdin:
        question = json.loads(line)
        if "output" in question:
            call = call_of(peer, part, inputs)
            torch.save(call(), question["output"])  # the run also warms up
            answer()
        else:
            answer(**timed(call, scale))


def load(name: str, scale: Scale, path: Path, part: str, host: list[str]):
    """Loads the peer of a name, on the tensors of the single file where its networks can take them."""
    if host:
        from peers.core import Core, start  # first, since importing the host reads the command line

        start(Path(host[0]), scale)
        if name != "Stillmotion":
            return _load_in_host(name, Core, scale, path, part)
    from peers.ours import Ours

    ours = Ours.load(single_file(path), scale, compiled=name.endswith(", compiled"))
    if name.startswith("Stillmotion"):
        return ours
    from peers.diffusers import Diffusers

    theirs = Diffusers.of_checkpoint(ours.checkpoint, scale)
    return theirs.compiled() if name.endswith(", compiled") else theirs


def _load_in_host(name: str, core: type, scale: Scale, path: Path, part: str):
    if name == "Stillmotion's nodes":
        peer = core.load_nodes(single_file(path), scale)
    else:
        peer = core.load(single_file(path), scale, NETWORKS[part])
    if scale.device == "cpu" and peer.model is not None:
        from stillmotion.svd_model.checkpoint import Checkpoint

        peer.share_weights(Checkpoint.open(single_file(path)))
    return peer


def call_of(peer, part: str, inputs: Inputs) -> Callable[[], Tensor]:
    """What a peer does in a part. Decoded frames are clamped to [−1, 1], as core does."""
    call = getattr(peer, {"unet": "unet_step"}.get(part, part))(inputs)
    return (lambda: call().clamp(-1, 1)) if part == "decode" else call


def timed(call: Callable[[], Tensor], scale: Scale) -> dict:
    """Seconds of a call, and the bytes at its peak above the ones in use before it.

    A call without a clock comes first, since the system may have taken pages of a peer that waited, and a GPU
    its memory. On a CPU spare memory then goes back: holes in a heap spare large blocks their page faults.
    """
    call()
    if scale.device == "cpu":
        give_back(scale)
    start = _restart_peak(scale)
    began = time.perf_counter()
    call()
    seconds = time.perf_counter() - began
    if scale.device == "cpu":
        most = peak()
    else:
        most = torch.cuda.max_memory_allocated()
        give_back(scale)  # for the peer whose turn is next
    return {"seconds": seconds, "above": most - start}


def _restart_peak(scale: Scale) -> int:
    """Bytes in use, from which the peak begins anew."""
    if scale.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to the current size
    return peak()


def give_back(scale: Scale) -> None:
    """Returns unused memory to the device and to the system."""
    from stillmotion.svd_model.layerwise.memory import release_unused

    release_unused(torch.device(scale.device))


if __name__ == "__main__":
    main()
