"""One budget for a whole run: its frames, its live memory, and how each stage chooses."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies
from PIL import Image

from stillmotion.clips import needs
from stillmotion.clips.conditions import Conditions
from stillmotion.clips.run import Branch, Run
from stillmotion.clips.settings import Settings
from stillmotion.headless.engine import memory
from stillmotion.headless.engine.fit import STAYS, Choice, Fit, Held
from stillmotion.headless.pipeline import Pipeline
from stillmotion.svd_model import layerwise
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.sources import TensorFile
from support import checkpoints, headers, tiny
from support.live_memory import LiveMemory

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CLIP = Settings(num_frames=6, width=128, height=128, steps=2, seed=3)
SIZE = (6, 16, 16)
FULL = (25, 72, 128)


@cache
def checkpoint() -> Checkpoint:
    """A file of float64, whose weights are copied to be used, and so count as live."""
    tensors = checkpoints.tensors("svd", torch.float64, tiny.SMALL)
    return Checkpoint(TensorFile.of_tensors(Path("svd.safetensors"), tensors))


@cache
def released() -> Checkpoint:
    return headers.checkpoint(headers.released("svd_xt"))


def on_card(budget=None, **options) -> Fit:
    return Fit(released(), CUDA, torch.float16, torch.float32, budget, **options)


def picture() -> Image.Image:
    ramp = np.linspace(0, 255, 128, dtype=np.uint8)
    return Image.fromarray(np.stack(np.broadcast_arrays(ramp, ramp[:, None], ramp[::-1]), axis=-1))


@cache
def unbounded() -> np.ndarray:
    return Pipeline(checkpoint(), CPU).animate(picture(), CLIP).frames


def least() -> int:
    return Fit(checkpoint(), CPU, torch.float32, torch.float32).needed(SIZE, False)


@pytest.mark.parametrize("times", [1, 1.3, 2])
def test_a_whole_run_keeps_to_its_budget_and_gives_the_same_frames(times, tmp_path):
    """All networks come, and leave where the budget has no room for them; a second picture brings them back.

    Rounding to bytes may differ by one.
    """
    room = least() - memory.overhead(CPU)
    pipeline = Pipeline(
        checkpoint(), CPU, memory_budget=memory.overhead(CPU) + round(times * room), scratch_folder=tmp_path
    )
    for _ in range(2):
        with LiveMemory() as live:
            frames = pipeline.animate(picture(), CLIP).frames
        assert np.abs(frames.astype(int) - unbounded()).max() <= 1
        assert live.peak <= 1.05 * times * room


def test_a_budget_under_the_least_names_it_and_the_stage():
    pipeline = Pipeline(checkpoint(), CPU, memory_budget=least() - 1)
    with pytest.raises(layerwise.NotEnoughMemoryError) as error:
        pipeline.animate(picture(), CLIP)
    assert error.value.smallest == least()
    stages = pipeline.fit.stages(SIZE, False)
    most = max(stages, key=pipeline.fit.smallest)
    assert f"{most.work} needs at least {layerwise.in_units(least())}" in str(error.value)
    Pipeline(checkpoint(), CPU, memory_budget=least()).fit.check(SIZE, False)


def test_a_clip_of_several_runs_is_sampled_in_the_memory_of_one():
    fit = on_card()
    run, clip = (fit.stages((frames, 72, 128), False, at_once=25) for frames in (25, 100))
    assert [stage.least for stage in clip[:-1]] == [stage.least for stage in run[:-1]]
    assert clip[2].work == "sampling 25 frames of 1024×576" and "decoding 100 frames" in clip[3].work


def test_latents_alone_need_no_more_than_decoding():
    fit = Fit(checkpoint(), CPU, torch.float32, torch.float32)
    decode = fit.smallest(needs.to_decode(checkpoint(), SIZE, False, torch.float32, CPU))
    assert fit.needed(SIZE, False, sample=False) == decode
    assert fit.needed(SIZE, False) == max(decode, fit.needed(SIZE, False, decode=False))


def test_on_a_card_the_unet_streams_only_where_its_weights_leave_too_little():
    need = needs.to_sample(released(), FULL, torch.float16, CUDA)
    fit = on_card()
    left = math.ceil(STAYS * need.least)
    resident = need.weights + left
    assert fit.choose(need, resident) == Choice(alone=True, activations=left)
    below = fit.choose(need, resident - 1)
    assert below == Choice(streams=True, alone=True, activations=resident - 1 - need.streamed)
    assert fit.needed(FULL, False) < resident


def test_networks_stay_where_all_fit_beside_the_fastest_way():
    need, others = needs.to_sample(released(), FULL, torch.float16, CUDA), 1_300_000_000
    room = need.weights + need.fastest + others
    assert on_card().choose(need, room, others) == Choice(activations=need.fastest)
    assert on_card().choose(need, room - 1, others).alone


@pytest.mark.parametrize("fit", [on_card(can_stream=False), replace(on_card(), device=CPU)])
def test_what_cannot_stream_needs_its_weights_there(fit):
    need = needs.to_sample(released(), FULL, torch.float16, fit.device)
    assert fit.smallest(need) == memory.overhead(fit.device) + need.weights + need.least
    assert not fit.choose(need, need.weights).streams


@given(room=strategies.integers(0, 40 * 10**9), others=strategies.integers(0, 10**10))
@settings(max_examples=40, deadline=None)
def test_a_choice_takes_no_more_than_the_room_from_the_smallest_on(room, others):
    fit = on_card()
    for need in fit.stages(FULL, False):
        choice = fit.choose(need, room, others)
        weights = need.streamed if choice.streams else need.weights
        beside = 0 if choice.alone else others
        assert choice.activations >= need.least
        if room >= fit.smallest(need):
            assert weights + choice.activations + beside <= room
            assert need.slowdown(choice.activations) >= 1


def test_free_memory_counts_what_other_networks_can_leave(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 10**9)
    need = needs.to_sample(released(), FULL, torch.float16, CUDA)
    held = Held(need.weights, 20 * 10**9)
    share = int(layerwise.SHARE_OF_FREE * (10**9 + sum(held)))
    assert on_card().to_sample(FULL, held=held) == on_card().choose(need, share, held.others)
    monkeypatch.setattr(memory, "available", lambda device: None)
    assert on_card().to_sample(FULL, held=held) == Choice()


def test_a_rank_counts_its_own_branches_and_the_features_that_it_keeps(monkeypatch):
    asked, to_sample = [], needs.to_sample
    monkeypatch.setattr(needs, "to_sample", lambda *inputs: asked.append(inputs[4:6]) or to_sample(*inputs))
    names = dict.fromkeys(("conditional", "unconditional", "spatial"))
    run = SimpleNamespace(branches_at_once=2, frames_at_once=25, start=torch.empty(25, 4, 72, 128))
    run = SimpleNamespace(**vars(run), branches=names, kept_features=3, control=None)
    monkeypatch.setattr("stillmotion.headless.engine.fit.fork_of", lambda branches, places: None)
    for ranks in (1, 2, 3):
        on_card(48 * 10**9, ranks=ranks).to_sample_run(run)
    assert asked == [(2, 2), (2, 1), (1, 1)]


def test_a_rank_counts_its_own_frames_where_several_have_a_branch(monkeypatch):
    asked, to_sample = [], needs.to_sample
    monkeypatch.setattr(
        needs, "to_sample", lambda *inputs: asked.append((inputs[1], inputs[-1])) or to_sample(*inputs)
    )
    start, branch = torch.empty(25, 4, 72, 128), Branch(Conditions(torch.empty(1, 1, 64), torch.empty(1, 4)))
    names = dict.fromkeys(("conditional", "unconditional"), branch)
    run = Run(names, (), torch.empty(0), start, 0, "euler", 0.0, 1)
    for ranks in (2, 4, 6):
        on_card(48 * 10**9, ranks=ranks).to_sample_run(run)
    assert asked == [((25, 72, 128), False), ((13, 72, 128), True), ((9, 72, 128), True)]


def test_ranks_on_one_cpu_share_its_free_memory(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda device: 3 * 10**9)
    room = {}
    for ranks in (1, 2):
        fit = Fit(checkpoint(), CPU, torch.float32, torch.float32, ranks=ranks)
        monkeypatch.setattr(Fit, "choose", lambda self, need, free, *_: free)
        room[ranks] = fit.to_decode(SIZE, False)
    assert room[2] == room[1] // 2 and memory.for_spilling(2) == memory.for_spilling() // 2
