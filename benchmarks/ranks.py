"""Measures a guided step and a decode on two ranks against one process, in turns, with the built-in model.

`python benchmarks/ranks.py`, or by torchrun on GPUs. A rank has one thread of a CPU. Times of the processor
leave out who waits for whom, and hold on busy cores too; times of the clock hold on free ones alone.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from stillmotion import builtin_model
from stillmotion.clips.conditions import Conditions
from stillmotion.clips.settings import Settings
from stillmotion.headless import Pipeline, Ranks
from stillmotion.headless.engine import local
from stillmotion.headless.engine import ranks as places
from support.ranks import environments

TURNS = 15
SIZES = {"num_frames": 14, "width": 256, "height": 256}
TOGETHER, APART, RANKS = "both together", "one after the other", "on two ranks"
STEP, DECODE = "a guided step", "a decode"


def main() -> None:
    """The command line."""
    if places.started() is None:
        command = [sys.executable, __file__]
        processes = [subprocess.Popen(command, env=environment) for environment in environments(2)]
        sys.exit(max(process.wait() for process in processes))
    ranks = Ranks.join()
    found = measured(ranks)
    everywhere = ranks.gather(torch.tensor([[*each] for each in found.values()], dtype=torch.float64))
    if ranks.is_first:
        report(list(found), everywhere, ranks)
    ranks.leave()


def measured(ranks: Ranks) -> dict[tuple[str, str], tuple[float, float]]:
    """Seconds of the clock and of this rank's processor, medians, of each work in each way."""
    options = {"dtype": "float32" if ranks.device.type == "cpu" else "float16"}
    alone = Pipeline(builtin_model.load(), ranks.device, **options)
    shared = Pipeline(builtin_model.load(), ranks=ranks, **options)
    work = {
        (STEP, TOGETHER): step(alone),
        (STEP, APART): step(alone, apart=True),
        (STEP, RANKS): step(shared),
        (DECODE, TOGETHER): lambda: alone.decode(latents()),
        (DECODE, RANKS): lambda: shared.decode(latents()),
    }
    times = {key: [] for key in work}
    for turn in range(TURNS + 1):  # the first warms up
        for (what, how), run in work.items():
            ranks.wait()
            clock, processor = time.perf_counter(), time.process_time()
            if how == RANKS or ranks.is_first:
                run()
                if ranks.device.type == "cuda":
                    torch.cuda.synchronize()
            if turn:
                times[what, how].append((time.perf_counter() - clock, time.process_time() - processor))
    return {key: tuple(map(statistics.median, zip(*each, strict=True))) for key, each in times.items()}


def latents() -> Tensor:
    """Latents of a clip, (T, 4, h, w)."""
    return 0.18 * drawn(SIZES["num_frames"], 4, SIZES["height"] // 8, SIZES["width"] // 8)


def drawn(*shape: int) -> Tensor:
    """Numbers of N(0, 1)."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def step(pipeline: Pipeline, apart: bool = False):
    """A guided evaluation, with all that a run keeps from step to step."""
    settings, unet = Settings(**SIZES, steps=25), pipeline.unet
    plan = pipeline.plan(settings)
    conditions = Conditions(
        drawn(1, 1, unet.params.context_dim).to(pipeline.device),
        latents()[:1].to(pipeline.device),
        plan.vector,
    )
    run = plan.run(conditions)
    make = local._evaluations(unet, run, pipeline.dtype, None, None, pipeline.ranks)
    evaluate, x = make(run.branches), drawn(*latents().shape).to(pipeline.device)
    names, sigma = tuple(run.branches), run.sigmas[10]

    @torch.no_grad()
    def evaluated():
        for group in [(name,) for name in names] if apart else [names]:
            evaluate(group, x, sigma)

    return evaluated


def report(keys: list[tuple[str, str]], everywhere: Tensor, ranks: Ranks) -> None:
    """Prints a table; everywhere: (ranks, works, 2)."""
    size = "×".join(str(SIZES[name]) for name in ("num_frames", "width", "height"))
    print(f"{size}, {ranks.size} ranks, {ranks.device.type}, medians of {TURNS} in turns\n")
    print("| work | way | s of the clock | s of the processor, by rank |\n|---|---|---|---|")
    for number, (what, how) in enumerate(keys):
        processors = everywhere[:, number, 1] if how == RANKS else everywhere[:1, number, 1]
        told = " and ".join(f"{seconds:.2f}" for seconds in processors.tolist())
        print(f"| {what} | {how} | {everywhere[0, number, 0]:.2f} | {told} |")


if __name__ == "__main__":
    main()
