"""Measures two workers of a batch, local and Ray's, against one process, in turns, on the built-in model.

`python benchmarks/workers.py [--clips N] [--turns N]`. On two free cores: a worker has one thread.
Where there is no Ray, its way is left out.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
SIZES = ("--frames", "14", "--width", "128", "--height", "128", "--steps", "10")
ALONE, WHOLE, LOCAL, RAY = "one process, one thread", "one process", "2 workers", "2 Ray actors"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
WAYS = {
    ALONE: (ONE_THREAD, ()),
    WHOLE: ({}, ()),
    LOCAL: ({}, ("--workers", "2")),
    RAY: ({}, ("--engine", "ray", "--workers", "2")),
}
WARM = 2  # clips of a run that are not timed: one of each worker


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=14, help="of a run (14)")
    parser.add_argument("--turns", type=int, default=5, help="runs of each way (5)")
    options = parser.parse_args()
    ways = [way for way in WAYS if way != RAY or importlib.util.find_spec("ray")]
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(options.turns):
        for way in ways if turn % 2 == 0 else reversed(ways):
            found[way].append(measured(way, options.clips))
            print(f"{turn + 1}: {way}: {found[way][-1][0]:.2f} clips a minute", flush=True)
    print("\n| way | clips a minute | of one thread's | seconds of the command |\n|---|---|---|---|")
    for way, each in found.items():
        rates, seconds = zip(*each, strict=True)
        ratios = [rate / alone for rate, (alone, _) in zip(rates, found[ALONE], strict=True)]
        told = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {way} | {statistics.median(rates):.1f} | {told} | {statistics.median(seconds):.0f} |")


def measured(way: str, clips: int) -> tuple[float, float]:
    """Clips a minute once all workers are at work, and seconds of the whole command."""
    environment, options = WAYS[way]
    picture = ROOT / "assets" / "rocket.jpg"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "stillmotion", "batch", picture, "--out", folder, *SIZES, *options]
        begun = time.time()
        subprocess.run(
            [*command, "--sweep", f"seed=0:{clips}"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
            check=True,
        )
        seconds = time.time() - begun
        times = sorted(path.stat().st_mtime for path in Path(folder).rglob("*.mp4"))
    assert len(times) == clips
    return 60 * (clips - WARM) / (times[-1] - times[WARM - 1]), seconds


if __name__ == "__main__":
    main()
