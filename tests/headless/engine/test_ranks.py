"""Ranks make the clip that one process makes, to the byte, and none outlives another."""

import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stillmotion import builtin_model
from stillmotion.headless import Pipeline
from stillmotion.headless.engine import decoding, local
from stillmotion.headless.engine import ranks as engine
from support import decoders, ranks, shared_clips

SCRIPT = Path(__file__).parent / "scripts" / "ranks.py"
ROUNDING = 2**-24 + 1e-12
"""Of float64 through some forty layers, and then to float32, relative to the largest magnitude."""


def made_by(size: int, folder: Path, *work: str) -> list[dict[str, torch.Tensor]]:
    """What each of several ranks has of some work."""
    for status, _, errors in ranks.finish(ranks.start(size, SCRIPT, folder, 60, *work)):
        assert status == 0, errors
    return [load_file(folder / f"{rank}.safetensors") for rank in range(size)]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two ranks have, which are started once for all tests."""
    return made_by(2, tmp_path_factory.mktemp("two"), "out_of_memory", "clips", "decode")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return made_by(3, tmp_path_factory.mktemp("three"), "three_branches", "decode")


@pytest.fixture(scope="module")
def alone():
    """A pipeline that evaluates the branches of a step one after the other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the ranks have
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "_batched", lambda names, _: [(name,) for name in names])
        yield Pipeline(builtin_model.load(), "cpu", "float32")
    torch.set_num_threads(threads)


def same_latents(found, pipeline, way, work):
    (expected,) = (value for key, value in shared_clips.clips(pipeline, [way]).items() if "latents" in key)
    return all(torch.equal(of_rank[f"{work} {way}, latents"], expected) for of_rank in found)


@pytest.mark.parametrize("way", shared_clips.WAYS)
def test_two_ranks_sample_the_bytes_of_branches_one_after_the_other(two, alone, way):
    assert same_latents(two, alone, way, "clips")


def test_three_ranks_have_a_branch_each(three, alone):
    assert same_latents(three, alone, "one skip", "three_branches")


@pytest.mark.parametrize("way", shared_clips.WAYS)
def test_every_rank_has_every_frame(two, way):
    first, second = (of_rank[f"clips {way}, frames"] for of_rank in two)
    assert torch.equal(first, second)
    assert len(first) == shared_clips.WAYS[way][0].get("num_frames", shared_clips.SIZES["num_frames"])


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("frames", [14, 25])
def test_frames_that_ranks_decode_are_the_whole_clips(request, size, frames):
    found = request.getfixturevalue({2: "two", 3: "three"}[size])
    expected = decoders.reference(shared_clips.latents(frames)).exact
    for of_rank in found:
        error = (of_rank[f"decode {frames} True"] - expected).abs().max()
        assert error < ROUNDING * expected.abs().max()


def test_single_frames_are_divided_too_and_few_frames_are_not(two):
    z = shared_clips.latents(14)
    frame_wise = decoders.decoder(temporal=False).double()
    assert torch.equal(
        two[1]["decode 14 False"], torch.stack(list(decoding.decoded(frame_wise, z, None, ring=False)))
    )
    temporal, z = decoders.decoder().double(), shared_clips.latents(3)
    assert torch.equal(
        two[1]["decode 3 True"], torch.stack(list(decoding.decoded(temporal, z, None, ring=False)))
    )


def test_memory_that_runs_out_on_one_rank_is_an_error_of_all_at_one_evaluation(two):
    """And they begin again only if all of them can."""
    assert all(of_rank["out_of_memory raised"] for of_rank in two)
    assert all(of_rank["out_of_memory retries"].tolist() == [True, False] for of_rank in two)


@pytest.mark.parametrize(("how", "seconds"), [("killed", 60), ("hanging", 2)])
def test_a_rank_that_is_lost_ends_the_others(tmp_path, how, seconds):
    """One that was killed at once, one that hangs when the time is over."""
    processes = ranks.start(2, SCRIPT, tmp_path, seconds, how)
    try:
        assert processes[0].wait(timeout=40) == 1
        assert "lost another one" in processes[0].stderr.read()
        assert processes[1].poll() == (-signal.SIGKILL if how == "killed" else None)
    finally:
        for process in processes:
            process.kill()


def test_a_rank_that_does_not_come_is_waited_for_no_longer_than_that(tmp_path):
    begin = time.monotonic()
    (first, *_) = processes = ranks.start(2, SCRIPT, tmp_path, 1, "decode")
    processes[1].kill()
    _, errors = first.communicate(timeout=40)
    assert first.returncode == 1 and "RankLostError" in errors
    assert time.monotonic() - begin < 40


@pytest.mark.parametrize("name", [None, "cuda", "cuda:0"])
def test_a_rank_touches_the_gpu_of_its_own_number_alone(monkeypatch, name):
    touched = []

    def empty(*sizes, device, **options):
        touched.append(str(device))

    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", empty)
    assert engine.own_device(name) == torch.device("cuda", 3)
    assert touched == ["cuda:3"]


@pytest.mark.parametrize("name", [None, "mps"])
def test_a_device_that_ranks_can_not_tell_numbers_from_is_refused(monkeypatch, name):
    """As on a Mac, whose best device it is."""
    for variable, value in ranks.environments(1)[0].items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(engine, "find_device", lambda name: torch.device(name or "mps"))
    with pytest.raises(ValueError, match="the devices cuda and cpu, and not with mps; give cpu"):
        engine.Ranks.join(name, seconds=5)


def test_joining_outside_of_ranks_is_refused():
    with pytest.raises(ValueError, match="was not started as one of several ranks; start it by torchrun"):
        engine.Ranks.join("cpu")
