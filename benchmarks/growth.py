"""Measures how time and memory grow with frames and pixels: UNet step and decode, beside diffusers.

    python benchmarks/growth.py SCALE PATH PLOT OUT.json

Memory is the bytes of live tensors without the weights, on a GPU as torch counts them. The bytes don't depend
on an allocator; the workspace of a library inside an operator is not part of them.
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
SIZES = {  # of a clip of 4 frames (cpu) or 25 (cuda)
    "cpu": ((64, 64), (128, 64), (128, 128), (256, 128)),
    "cuda": ((512, 320), (640, 384), (768, 448), (1024, 576)),
}
QUICK_FRAMES, QUICK_SIZES = (2, 3, 4), ((64, 64), (128, 64), (128, 128))
PARTS = {"unet": "guided UNet step", "decode": "VAE temporal decode"}
MB = 10**6
UNITS = (("seconds", "s", 1), ("bytes", "MB beside weights", MB))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Fits p of value ≈ c·size^p, by least squares in the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def points(scale: Scale) -> dict[str, dict[int, Scale]]:
    """Clips to measure, keyed by axis and then by size along it."""
    kind = "cuda" if scale.device == "cuda" else "cpu"
    frames, sizes = (QUICK_FRAMES, QUICK_SIZES) if scale.quick else (FRAMES, SIZES[kind])
    return {
        "frames": {count: scale.sized(count, *sizes[0]) for count in frames},
        "pixels": {width * height: scale.sized(scale.frames, width, height) for width, height in sizes},
    }


def measure(scale: Scale, path: Path) -> dict:
    """Measures seconds and bytes of each peer at each point."""
    ours = Ours.load(single_file(path), scale)
    peers = [ours, Diffusers.of_checkpoint(ours.checkpoint, scale)]
    width = ours.checkpoint.unet.params.context_dim
    _first_runs(peers, make_inputs(scale, width))
    measured: dict = {}
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
        measured[axis] = {"sizes": list(clips), "at": at}
    return measured


def _first_runs(peers: list, inputs) -> None:
    """Runs each part once, so that loading and set-up are not measured."""
    for peer in peers:
        peer.unet_step(inputs)()
        peer.decode(inputs)()


def live_bytes(call: Callable[[], Tensor], device: str) -> int:
    """Peak of the bytes of tensors that a call allocates."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - start
    from support.live_memory import LiveMemory

    with LiveMemory() as memory:
        call()
    return memory.peak


def _seconds(call: Callable[[], Tensor]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def rows(measured: dict) -> list[tuple]:
    """Table rows of the fitted exponents and the measurements under them."""
    table_rows = []
    for axis, along in measured.items():
        for part, peers in along["at"].items():
            for peer, used in peers.items():
                fits = (f"{exponent(along['sizes'], used[name]):.2f}" for name in ("seconds", "bytes"))
                seconds = ", ".join(f"{value:.3g}" for value in used["seconds"])
                size = ", ".join(f"{value / MB:.0f}" for value in used["bytes"])
                sizes = ", ".join(map(str, along["sizes"]))
                table_rows.append((PARTS[part], peer, f"{axis}: {sizes}", *fits, seconds, size))
    return table_rows


def plot(measured: dict, title: str, path: Path) -> bool:
    """Draws a panel for each part and axis, time above memory; returns False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = [(axis, part) for axis in measured for part in PARTS]
    figure, panels = pyplot.subplots(2, len(columns), figsize=(4 * len(columns), 7), layout="constrained")
    for column, (axis, part) in enumerate(columns):
        sizes = measured[axis]["sizes"]
        for row, (name, unit, divisor) in enumerate(UNITS):
            panel = panels[row][column]
            for peer, used in measured[axis]["at"][part].items():
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
    """Measures and draws; writes the table and the numbers as JSON."""
    scale, path, picture, out = Scale.from_json(sys.argv[1]), *(Path(word) for word in sys.argv[2:5])
    find_modules()
    measured = measure(scale, path)
    drawn = plot(measured, f"{scale.dtype} on {scale.device}, random weights", picture)
    head = ("what", "peer", "along", "time ∝ size^", "memory ∝ size^", "seconds", "MB beside the weights")
    where = f"drawn in {picture.name}" if drawn else "no plot: matplotlib is not installed"
    text = f"## growth, {scale.dtype} on {scale.device}; {where}\n\n{table(head, rows(measured))}"
    out.write_text(json.dumps({"markdown": text, "data": measured}))


if __name__ == "__main__":
    main()
