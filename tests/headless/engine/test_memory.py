"""The estimate of memory against what a clip really takes."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stillmotion.clips.settings import Settings
from stillmotion.headless.engine import memory
from stillmotion.headless.engine.fit import Fit
from stillmotion.headless.pipeline import Pipeline
from stillmotion.svd_model import layerwise
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.sources import TensorFile
from support import checkpoints, tiny
from support.live_memory import LiveMemory

FIRST = "first_stage_model.decoder."


def of_sizes(sizes):
    tensors = checkpoints.tensors("svd", sizes=sizes)
    return Pipeline(Checkpoint(TensorFile.of_tensors(Path("svd.safetensors"), tensors)), device="cpu")


@pytest.fixture(scope="module")
def pipeline():
    return of_sizes(tiny.SMALL)


@pytest.fixture(scope="module")
def released_levels():
    """A pipeline whose UNet has all levels of the released ones, for which its memory was counted."""
    return of_sizes(tiny.GOLDEN)


def smallest(pipeline, *size):
    *size, frame_wise = size
    return pipeline.fit.needed(size, frame_wise, sample=False)


@pytest.mark.parametrize("frame_wise", [False, True])
@pytest.mark.parametrize("times", [1, 1.7])
def test_decoding_keeps_to_the_budget_weights_included(pipeline, frame_wise, times):
    checkpoint = pipeline.checkpoint
    latents = torch.zeros(4, 4, 16, 16)
    budget = round(times * smallest(pipeline, 4, 16, 16, frame_wise))
    bounded = Pipeline(checkpoint, device="cpu", memory_budget=budget)
    bounded.decode(latents[:1], frame_wise)  # loads the decoder
    with LiveMemory() as live:
        for _ in bounded.stream(latents, frame_wise):
            pass
    weights = checkpoint.decoder_for(frame_wise).size
    assert live.peak + weights <= 1.05 * (budget - memory.overhead(bounded.device))


def test_a_budget_that_is_too_small_is_refused_before_any_work(pipeline):
    least = smallest(pipeline, 4, 16, 16, False)
    bounded = Pipeline(pipeline.checkpoint, device="cpu", memory_budget=least - 1)
    with pytest.raises(layerwise.NotEnoughMemoryError, match="decoding 4 frames of 128×128 needs at least"):
        bounded.fit.check((4, 16, 16), False)
    bounded.fit.check((4, 16, 8), False)


MEASURE = """
import json, sys, threading, psutil, torch
from pathlib import Path
from stillmotion.headless.pipeline import Pipeline
from stillmotion.svd_model.checkpoint import Checkpoint
torch.set_num_threads(1)
pipeline = Pipeline(Checkpoint.open(sys.argv[1]), device="cpu", memory_budget=int(sys.argv[2]))
latents = torch.zeros(4, 4, 48, 48)
process, over, first = psutil.Process(), threading.Event(), psutil.Process().memory_info().rss
peak = first
def watch():
    global peak
    while not over.wait(0.002):
        peak = max(peak, process.memory_info().rss)
threading.Thread(target=watch, daemon=True).start()
for frame in pipeline.stream(latents):
    pass
over.set()
print(peak - first)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted as Linux does")
@pytest.mark.parametrize("times", [1.1, 1.7])
def test_a_process_that_decodes_grows_by_no_more_than_its_budget(tmp_path, times):
    """As the system sees it; under the smaller budget frames go to a file, whose pages are let go of."""
    path = checkpoints.write(tmp_path / "tiny.safetensors")
    budget = round(times * smallest(Pipeline.open(path, device="cpu"), 4, 48, 48, False))
    command = [sys.executable, "-c", MEASURE, str(path), str(budget)]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert budget / 2 < grown <= 1.05 * budget


@pytest.mark.parametrize(
    ("text", "size"),
    [("6GB", 6 * 10**9), ("500 mb", 5 * 10**8), ("4GiB", 2**32), ("2.5g", 25 * 10**8), ("1048576", 2**20)],
)
def test_sizes_as_people_write_them(text, size):
    assert memory.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "six", "-1GB", "1e9", "5iB", "3PB", "nan", "0", "0.1", "9" * 309])
def test_other_texts_are_no_sizes(text):
    with pytest.raises(ValueError, match=r"give (one|a size) such as 6GB"):
        memory.parse_size(text)


@pytest.mark.parametrize("free", [2**40, 0], ids=["both branches at once", "as little as can be"])
def test_sampling_takes_what_was_planned(released_levels, monkeypatch, free):
    pipeline = released_levels
    monkeypatch.setattr(memory, "available", lambda device: free)
    settings = Settings(num_frames=40, width=128, height=128, steps=1).complete(pipeline.checkpoint.variant)
    picture = torch.zeros(1, 3, 128, 128)
    pipeline.sample(pipeline.encode(picture, settings), settings)  # loads the networks
    conditions = pipeline.encode(picture, settings)
    with LiveMemory() as live:
        pipeline.sample(conditions, settings)
    size = (40, 16, 16, torch.float32, torch.device("cpu"))
    planner = layerwise.UNetPlanner(pipeline.checkpoint.unet.params, 2, *size)
    plan = planner.within(max(free, planner.smallest().peak))
    assert live.peak == pytest.approx(plan.peak, rel=0.05)


@pytest.mark.parametrize(("limit", "expected"), [("5000", 3000), ("max", math.inf)])
def test_a_containers_limit_counts(tmp_path, monkeypatch, limit, expected):
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text("2000\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    free = memory.available(torch.device("cpu"))
    assert free == expected if limit != "max" else free > 0
    assert free <= expected


def test_a_shortage_is_told_in_words():
    assert memory.shortage(2**30, 2 * 2**30) is None
    assert memory.shortage(2**30, None) is None
    assert memory.shortage(5 * 2**30, 2**30).startswith("this clip needs about 5.0 GiB of memory and 1.0 GiB")


def test_available_memory_is_known_on_the_cpu_only_here():
    assert 0 < memory.available(torch.device("cpu")) < 2**50
    assert memory.available(torch.device("meta")) is None


def test_a_frame_wise_decode_is_weighed_by_the_decoder_that_does_it():
    """Which need not have the temporal one's width."""
    narrow, wide = tiny.SMALL, replace(tiny.SMALL, vae=replace(tiny.SMALL.vae, channels=64))
    tensors = checkpoints.tensors("svd", sizes=narrow)
    first_stage = {
        key: t for key, t in checkpoints.tensors("svd", sizes=wide).items() if key.startswith(FIRST)
    }
    mixed = Checkpoint(TensorFile.of_tensors(Path("svd.safetensors"), tensors | first_stage))
    both = Checkpoint(TensorFile.of_tensors(Path("svd.safetensors"), tensors))
    of_machine = (torch.device("cpu"), torch.float32, torch.float32)
    fits = [Fit(file, *of_machine) for file in (mixed, both)]
    needed = [fit.needed((4, 16, 16), True, sample=False) for fit in fits]
    assert needed[0] == needed[1]
    assert needed[0] < fits[0].needed((4, 16, 16), False, sample=False)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(10**9, 10**9), ("1GB", 10**9), (1e9, 10**9), (np.int64(10**9), 10**9), (np.float64(1e9), 10**9)],
)
def test_a_budget_may_be_a_number_of_any_kind_or_text(size, expected):
    assert memory.find_size(size) == expected


@pytest.mark.parametrize("size", [0, -1, True, math.nan, math.inf, [10**9], (1, 2), b"6GB", 0.5])
def test_other_budgets_are_refused(pipeline, size):
    with pytest.raises(ValueError, match=r"the memory budget is .*; give bytes, or text such as '6GB'"):
        Pipeline(pipeline.checkpoint, device="cpu", memory_budget=size)
