"""Measures on a GPU the ten costliest kernels, their shares of the peak, and the decode by budget.

    python benchmarks/gpu.py SCALE PATH OUT.json

Torch counts the FLOPs of the operator that launched a kernel. If an operator launches several, its longest
kernel is credited with them.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from measure import table
from peers.ours import Ours
from scale import Scale, find_modules, make_inputs
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from weights import GB, single_file

TERA = 10**12
PEAKS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "4090": 165, "B200": 2250}
"""Dense bfloat16 TFLOP/s from data sheets, looked up by the first key in the device's name."""
BUDGETS = (None, 24, 16, 12, 8, 6, 4)
MOST = 10
KERNEL_HEAD = ("kernel", "calls", "ms", "share of the time", "share of the peak")
_MARK = "counted operator "


class _Marked(TorchDispatchMode):
    """Context that marks each operator with countable FLOPs by a unique name in the profile."""

    def __init__(self):
        super().__init__()
        self.flops: dict[str, int] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        counter = flop_registry.get(function._overloadpacket)
        if counter is None:
            return function(*args, **kwargs)
        name = f"{_MARK}{len(self.flops)}"
        with record_function(name):
            result = function(*args, **kwargs)
        self.flops[name] = counter(*args, **kwargs, out_val=result)
        return result


def kernels(call: Callable[[], object]) -> list[dict]:
    """Profiles a call; returns its costliest kernels: name, seconds, calls, and FLOPs or None."""
    call()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler, _Marked() as marked:
        call()
        torch.cuda.synchronize()
    seconds, calls, flops = defaultdict(float), defaultdict(int), defaultdict(int)
    for event in profiler.events():
        for kernel in _own(event):
            seconds[kernel.name] += kernel.duration / 1e6
            calls[kernel.name] += 1
        launched = _below(event) if event.name in marked.flops else []
        if launched:
            flops[max(launched, key=lambda kernel: kernel.duration).name] += marked.flops[event.name]
    total = sum(seconds.values())
    order = sorted(seconds, key=seconds.get, reverse=True)[:MOST]
    return [
        {
            "name": name,
            "seconds": seconds[name],
            "share": seconds[name] / total,
            "calls": calls[name],
            "flops": flops[name] or None,
        }
        for name in order
    ]


def _own(event) -> list:
    """Kernels that an event launched itself, without the marks, which the profiler lists among them."""
    return [kernel for kernel in event.kernels if not kernel.name.startswith(_MARK)]


def _below(event) -> list:
    """Kernels of an event and of all events below it."""
    return [*_own(event), *(kernel for child in event.cpu_children for kernel in _below(child))]


def peak_of(device: str) -> float | None:
    """Peak FLOP/s of a device by its name, or None if its data sheet is not in PEAKS."""
    return next((TERA * value for name, value in PEAKS.items() if name in device), None)


def kernel_rows(profiled: list[dict], peak: float | None) -> list[tuple]:
    """Table rows of profiled kernels."""
    rows = []
    for kernel in profiled:
        name, seconds = kernel["name"].replace("|", "/")[:70], kernel["seconds"]
        reached = f"{kernel['flops'] / seconds / peak:.0%}" if peak and kernel["flops"] else ""
        rows.append((name, kernel["calls"], f"{1e3 * seconds:.1f}", f"{kernel['share']:.1%}", reached))
    return rows


def by_budget(scale: Scale, path: Path, latents) -> list[dict]:
    """Measures seconds and peak of a decode under each budget, weights included."""
    runs = []
    for budget in BUDGETS:
        ours = Ours.load(single_file(path), scale, ("decoder",), memory_budget=budget and budget * GB)
        ours.pipeline.decode(latents)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        ours.pipeline.decode(latents)
        seconds = time.perf_counter() - began
        runs.append({"budget": budget, "seconds": seconds, "peak": torch.cuda.max_memory_allocated()})
        del ours
        torch.cuda.empty_cache()
    return runs


def main() -> None:
    """Measures; writes the tables and the numbers as JSON."""
    scale, path, out = Scale.from_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    find_modules()
    device = torch.cuda.get_device_name()
    ours = Ours.load(single_file(path), scale)
    inputs = make_inputs(scale, ours.checkpoint.unet.params.context_dim)
    peak = peak_of(device)
    texts, data = [], {"device": device, "peak": peak}
    for part, call in (("guided step", ours.unet_step(inputs)), ("decode", ours.decode(inputs))):
        data[part] = kernels(call)
        title = f"## costliest kernels of a {part}, {device}"
        texts.append(f"{title}\n\n{table(KERNEL_HEAD, kernel_rows(data[part], peak))}")
    del ours
    torch.cuda.empty_cache()
    data["budgets"] = by_budget(scale, path, inputs.latents)
    rows = []
    for run in data["budgets"]:
        budget = f"{run['budget']} GB" if run["budget"] else "none"
        rows.append((budget, f"{run['seconds']:.2f} s", f"{run['peak'] / GB:.2f}"))
    texts.append(f"## decode by memory budget\n\n{table(('budget', 'time', 'peak allocated, GB'), rows)}")
    out.write_text(json.dumps({"markdown": "\n\n".join(texts), "data": data}))


if __name__ == "__main__":
    main()
