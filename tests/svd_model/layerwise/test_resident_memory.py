"""Memory as the system sees it: a process that decodes under a budget grows by no more than that."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent.parent

MEASURE = """
import json, sys, threading, psutil, torch
from stillmotion.svd_model import layerwise
from support import decoders
frames, side, share = 9, 72, float(sys.argv[1])
torch.set_num_threads(1)
decoder, z = decoders.decoder(), torch.randn(frames, 4, side, side)
list(layerwise.decode_frames(decoder, z[:2, :, :40, :40]))  # what the libraries set up once
layerwise.memory.release_unused(z.device)
process, over, budget = psutil.Process(), threading.Event(), decoders.budget_between(z, share)
first = peak = process.memory_info().rss
def watch():
    global peak
    while not over.wait(0.002):
        peak = max(peak, process.memory_info().rss)
threading.Thread(target=watch, daemon=True).start()
for frame in layerwise.decode_frames(decoder, z, budget=budget):
    pass
over.set()
print(json.dumps({"budget": budget, "grown": peak - first, "spilled": decoders.plan(z, budget).spilled}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted as Linux does")
@pytest.mark.parametrize(("share", "spills"), [(1.0, False), (0.15, True)])
def test_a_decode_grows_the_process_by_no_more_than_its_budget(share, spills):
    """Also where frames go to a file, whose pages are let go of as soon as they are written or read."""
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(share)], cwd=TESTS, capture_output=True, text=True, check=True
    )
    measured = json.loads(result.stdout)
    assert (measured["spilled"] > 0) == spills
    assert measured["budget"] / 2 < measured["grown"] <= 1.05 * measured["budget"]
