"""Benchmarks Stillmotion beside diffusers and ComfyUI's own SVD: `make bench`, or

    python benchmarks/run.py [--only NAME ...] [--pairs N] [--quick] [--eager] [--output FILE] [--folder DIR]

Sizes are small on a CPU and full on a GPU. Parts run one at a time. Peers have processes of their own and
alternate, and are timed only if their outputs agree. Weights are random, at full size. Names: unet, decode,
embed (CLIP), clip (the whole of it), load, memory, growth, flops, levers, gpu, rehearsal (a GPU's kernels and
bytes, counted without a GPU by ComfyUI's CUDA build of torch).
"""

import argparse
import json
import sys
import time
from pathlib import Path

import machine
import sections
import weights
from scale import ROOT, choose, find_modules
from sections import NAMES, Bench, Section

OUTPUT = ROOT / "outputs" / "bench.json"
PLOT = ROOT / "benchmarks" / "growth.png"


def main() -> int:
    """Runs the parts that the options name; returns 1 if a part failed or an output disagreed."""
    options = _options()
    if options.clean:
        weights.remove(options.folder)
        return 0
    find_modules()
    scale = choose(options.quick, options.pairs)
    path = weights.prepare(scale, options.folder)
    plot = options.output.with_name("growth.png") if options.quick else PLOT
    bench = Bench(scale, path, machine.find_host() if options.host else None, plot, options.eager)
    record = {"scale": str(scale), "only": options.only, **machine.describe(scale, bench.host)}
    print(f"{scale}; {record['hardware']['cpu']}, {record['hardware']['threads']} threads", flush=True)
    if bench.host is None:
        print("no ComfyUI: set COMFYUI_PATH, or put one in ~/comfy/ComfyUI; core is left out", flush=True)
    finished: list[Section] = []
    began, record["wall seconds"] = time.perf_counter(), {}
    for section in sections.run(bench, options.only):
        print(f"\n{section.markdown}", flush=True)
        finished.append(section)
        record["wall seconds"][section.name] = round(time.perf_counter() - began)
        began = time.perf_counter()
        _write(options.output, record, finished)
    return int(any(section.failed for section in finished))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME")
    parser.add_argument("--pairs", type=int, default=5, help="alternating runs of each (5)")
    parser.add_argument("--quick", action="store_true", help="tiny networks: whether it all works")
    parser.add_argument("--eager", action="store_true", help="leave out the compiled peers of a GPU")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the JSON (outputs/bench.json)")
    parser.add_argument("--folder", type=Path, default=weights.FOLDER, help="for 20 GB of weights")
    parser.add_argument("--no-host", dest="host", action="store_false", help="leave ComfyUI out")
    parser.add_argument("--clean", action="store_true", help="remove the weights, and do nothing else")
    return parser.parse_args()


def _write(output: Path, record: dict, finished: list[Section]) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    content = {**record, "sections": {section.name: section.data for section in finished}}
    output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
