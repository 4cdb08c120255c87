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
from functools import partial
from pathlib import Path

from measure import alternate, table

ROOT = Path(__file__).parent.parent
SIZES = ("--frames", "14", "--width", "128", "--height", "128", "--steps", "10")
ALONE, WHOLE, LOCAL, RAY = "one process, one thread", "one process", "2 workers", "2 Ray actors"
WAYS = {
    ALONE: ({"OMP_NUM_THREADS": "1"}, ()),
    WHOLE: ({}, ()),
    LOCAL: ({}, ("--workers", "2")),
    RAY: ({}, ("--engine", "ray", "--workers", "2")),
}
WARM = 2  # clips of a run that are not timed: one of each worker
HEAD = ("way", "clips a minute", "of one thread's", "seconds of the command")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=14, help="of a run (14)")
    parser.add_argument("--turns", type=int, default=5, help="runs of each way (5)")
    options = parser.parse_args()
    wholes = {way: [] for way in WAYS if way != RAY or importlib.util.find_spec("ray")}
    runs = {way: partial(rate, way, options.clips, whole.append) for way, whole in wholes.items()}
    rates = alternate(runs, options.turns)
    print(f"\n{table(HEAD, [row(way, each, rates[ALONE], wholes[way]) for way, each in rates.items()])}")


def rate(way: str, clips: int, say_whole) -> float:
    """Clips a minute once all workers are at work; say_whole: takes the seconds of the whole command."""
    environment, options = WAYS[way]
    picture = ROOT / "assets" / "rocket.jpg"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "stillmotion", "batch", picture, "--out", folder, *SIZES, *options]
        command += ["--sweep", f"seed=0:{clips}"]
        begun = time.time()
        subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True)
        say_whole(time.time() - begun)
        times = sorted(path.stat().st_mtime for path in Path(folder).rglob("*.mp4"))
    assert len(times) == clips
    return 60 * (clips - WARM) / (times[-1] - times[WARM - 1])


def row(way: str, rates: list[float], alone: list[float], wholes: list[float]) -> tuple:
    """A row under HEAD: medians, and ratios turn by turn with their range."""
    ratios = [one / other for one, other in zip(rates, alone, strict=True)]
    told = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return way, f"{statistics.median(rates):.1f}", told, f"{statistics.median(wholes):.0f}"


if __name__ == "__main__":
    main()
