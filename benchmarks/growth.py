"""How time and memory grow with frames and with pixels: UNet step and decode, ours and diffusers'.

    python benchmarks/growth.py SCALE PATH PLOT OUT.json

Memory is the bytes of tensors that are alive beside the weights (torch's own count on a GPU), which no
allocator's habits blur: what a library takes for itself inside of an operator is not in it.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from measure import table
from peers.diffusers import Diffusers
from peers.ours import Ours
from scale import Scale, find_modules, make_inputs
from torch import Tensor
from weights import single_file

FRAMES = (5, 10, 20, 40)
SIZES = {  # of a clip of 4 frames, or of 25
    "cpu": ((64, 64), (128, 64), (128, 128), (256, 128)),
    "cuda": ((512, 320), (640, 384), (768, 448), (1024, 576)),
}
QUICK_FRAMES, QUICK_SIZES = (2, 3, 4), ((64, 64), (128, 64), (128, 128))
PARTS = {"unet": "guided UNet step", "decode": "VAE temporal decode"}
MB = 10**6
UNITS = (("seconds", "s", 1), ("bytes", "MB beside weights", MB))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """p of value ≈ c·size^p, by least squares in the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def points(scale: Scale) -> dict[str, dict[int, Scale]]:
    """For each axis, the sizes along it and the clips that have them."""
    kind = "cuda" if scale.device == "cuda" else "cpu"
    frames, sizes = (QUICK_FRAMES, QUICK_SIZES) if scale.quick else (FRAMES, SIZES[kind])
    return {
        "frames": {count: scale.sized(count, *sizes[0]) for count in frames},
        "pixels": {width * height: scale.sized(scale.frames, width, height) for width, height in sizes},
    }


def measure(scale: Scale, path: Path) -> dict:
    """Seconds and bytes at each point."""
    ours = Ours.load(single_file(path), scale)
    peers = [ours, Diffusers.of_checkpoint(ours.checkpoint, scale)]
    width = ours.checkpoint.unet.params.context_dim
    _first_runs(peers, make_inputs(scale, width))
    found: dict = {}
    for axis, clips in points(scale).items():
        at = {part: {peer.name: {"seconds": [], "bytes": []} for peer in peers} for part in PARTS}
        for clip in clips.values():
            inputs = make_inputs(clip, width)
            for part in PARTS:
                for peer in (peer.resized(clip) for peer in peers):
                    call = (peer.unet_step if part == "unet" else peer.decode)(inputs)
                    used = at[part][peer.name]
                    used["bytes"].append(live_bytes(call, scale.device))
                    used["seconds"].append(_seconds(call))
                    print(f"{clip}: {part}, {peer.name}, {used['seconds'][-1]:.2f} s", flush=True)
        found[axis] = {"sizes": list(clips), "at": at}
    return found


def _first_runs(peers: list, inputs) -> None:
    """What is loaded and set up only once."""
    for peer in peers:
        peer.unet_step(inputs)()
        peer.decode(inputs)()


def live_bytes(call: Callable[[], Tensor], device: str) -> int:
    """The peak of tensors alive during a call beside those that were before."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    from support.live_memory import LiveMemory

    with LiveMemory() as memory:
        call()
    return memory.peak


def _seconds(call: Callable[[], Tensor]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def rows(found: dict) -> list[tuple]:
    """The fitted exponents, and what they were fitted to."""
    made = []
    for axis, along in found.items():
        for part, peers in along["at"].items():
            for peer, used in peers.items():
                fits = (f"{exponent(along['sizes'], used[name]):.2f}" for name in ("seconds", "bytes"))
                seconds = ", ".join(f"{value:.3g}" for value in used["seconds"])
                size = ", ".join(f"{value / MB:.0f}" for value in used["bytes"])
                sizes = ", ".join(map(str, along["sizes"]))
                made.append((PARTS[part], peer, f"{axis}: {sizes}", *fits, seconds, size))
    return made


def plot(found: dict, title: str, path: Path) -> bool:
    """A picture with a panel for each part and axis, time above, memory below; False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = [(axis, part) for axis in found for part in PARTS]
    figure, panels = pyplot.subplots(2, len(columns), figsize=(4 * len(columns), 7), layout="constrained")
    for column, (axis, part) in enumerate(columns):
        sizes = found[axis]["sizes"]
        for row, (name, unit, divisor) in enumerate(UNITS):
            panel = panels[row][column]
            for peer, used in found[axis]["at"][part].items():
                values = [value / divisor for value in used[name]]
                panel.loglog(sizes, values, "o-", label=f"{peer}, exponent {exponent(sizes, values):.2f}")
            panel.set_title(f"{PARTS[part]}, {unit}", fontsize=10)
            panel.set_xlabel(axis)
            panel.set_xticks(sizes, [str(size) for size in sizes], fontsize=8)
            panel.xaxis.minorticks_off()
            panel.grid(alpha=0.3, which="both")
            panel.legend(fontsize=8)
    figure.suptitle(title)
    figure.savefig(path, dpi=100)
    return True


def main() -> None:
    """Measures, draws, and writes the table and the numbers as JSON."""
    scale, path, picture, out = Scale.from_json(sys.argv[1]), *(Path(word) for word in sys.argv[2:5])
    find_modules()
    found = measure(scale, path)
    drawn = plot(found, f"{scale.dtype} on {scale.device}, random weights", picture)
    head = ("what", "peer", "along", "time ∝ size^", "memory ∝ size^", "seconds", "MB beside the weights")
    where = f"drawn in {picture.name}" if drawn else "no plot: matplotlib is not installed"
    text = f"## growth, {scale.dtype} on {scale.device}; {where}\n\n{table(head, rows(found))}"
    out.write_text(json.dumps({"markdown": text, "data": found}))


if __name__ == "__main__":
    main()
