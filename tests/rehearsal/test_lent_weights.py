"""Weights that ComfyUI lends: used only while they are lent, on pages that are given back.

Under the host's dynamic memory, the default on NVIDIA GPUs, a weight is a window on a buffer that the next
layer's weights overwrite. scripts/lent_weights.py plays that on a CPU.
"""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from support import checkpoints, host, tiny

SCRIPT = Path(__file__).parent / "scripts" / "lent_weights.py"
STORED = ("float32", "float16", "float8_e4m3fn")
PLACES = [("cast", "gpu"), ("resident", "gpu"), ("streams", "gpu"), ("cast", "cpu")]

EXACT = 1e-5
"""Float32 on both sides, in another order."""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return [
        checkpoints.write(folder / f"{stored}.safetensors", dtype=getattr(torch, stored), sizes=tiny.SMALL)
        for stored in STORED
    ]


def bound(case: dict) -> float:
    """The largest error relative to the largest magnitude that is right."""
    narrowest = torch.finfo(getattr(torch, case["checkpoint"])).eps
    if case["network"] == "tower":  # which the host computes in float16 on its own account
        return 4 * torch.finfo(torch.float16).eps
    # The host stores a patched weight in the dtype of the file, rounded at random.
    return max(EXACT, narrowest) if case["lora"] else EXACT


@pytest.mark.parametrize(("mode", "forms"), PLACES, ids=[f"{mode} as on a {forms}" for mode, forms in PLACES])
def test_pictures_are_exact_and_every_page_is_given_back(files, mode, forms):
    found = host.require()
    program = [found.python, SCRIPT, host.ROOT, mode, forms, *files]
    run = subprocess.run(program, cwd=found.path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    cases = json.loads(run.stdout.splitlines()[-1])
    assert len(cases) == 5 * len(STORED)
    assert [case for case in cases if not case["error"] <= bound(case)] == []
    assert [case for case in cases if case["pinned"] or case["most_pins"] > 1] == []
    if mode != "streams":
        assert all(case["pages"] for case in cases)
    if mode == "resident":
        assert all(case["most_pins"] == 1 for case in cases)
