"""The whole pipeline at full size on a GPU that is not there: scripts/gpu.py, by a CUDA build of torch."""

import json
import subprocess
from pathlib import Path

import pytest

from stillmotion.samplers.solvers import SOLVERS
from support import host, rehearsing

SCRIPT = Path(__file__).parent / "scripts" / "gpu.py"


def dtypes(first: str, *others: str) -> list:
    """Values of a parameter: a dtype for every commit, and others that are too long for it."""
    return [first, *(pytest.param(other, marks=pytest.mark.long) for other in others)]


def rehearse(*what: str) -> list[dict]:
    """The reports of the runs; none waited for the GPU between steps, or took more than it had planned."""
    run = subprocess.run([rehearsing.interpreter(), SCRIPT, host.ROOT, *what], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    reports = json.loads(run.stdout.splitlines()[-1])
    assert [report for report in reports if report["waits"]] == []
    assert [report for report in reports if report["peak"] > 1.02 * report["allowed"]] == []
    return reports


@pytest.mark.parametrize("dtype", dtypes("float16", "bfloat16", "float32"))
def test_sampling_takes_what_was_estimated_and_never_waits(dtype):
    together, apart, cached = rehearse("sample", dtype)
    assert apart["kernels"] > 1.5 * together["kernels"]
    assert together["peak"] > 1.5 * apart["peak"]
    assert cached["kernels"] < 1.3 * together["kernels"]  # of three steps, one of which takes the features


@pytest.mark.parametrize("dtype", dtypes("float16", "float32"))
def test_small_videos_take_what_was_estimated(dtype):
    """What is made of the weights counts there, not the features."""
    assert all(report["kernels"] for report in rehearse("small", dtype))


def test_every_solver_never_waits():
    assert [report["name"] for report in rehearse("solvers")] == list(SOLVERS)


@pytest.mark.parametrize("dtype", dtypes("float32", "bfloat16"))
def test_decoding_keeps_to_its_budget_in_large_pieces(dtype):
    tight, ample, _, room, within_8_gb, within_4_gb, diffusers = rehearse("decode", dtype)
    assert tight["peak"] < ample["peak"]
    assert tight["kernels"] > ample["kernels"]
    assert room["kernels"] <= 6_000
    assert room["traffic"] <= 1.1 * diffusers["traffic"]
    assert room["peak"] <= diffusers["peak"] / 3
    # Half of the budget goes to steps: a kernel of fewer bytes takes longer to launch than to run.
    assert room["kernels"] <= within_8_gb["kernels"] <= 12_000
    assert within_4_gb["kernels"] <= 25_000
