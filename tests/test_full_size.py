"""A checkpoint of the real size. Not in the default run: make test-full-size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.fullsize
TESTS = Path(__file__).parent

MEASURE = """
import resource, sys, time
from stillmotion.headless.command_line import main
start = time.monotonic()
status = main(sys.argv[1:])
print(status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, time.monotonic() - start)
"""


@pytest.fixture(scope="module")
def svd_xt(tmp_path_factory):
    path = tmp_path_factory.mktemp("full size") / "svd_xt.safetensors"
    keys = TESTS / "golden" / "keys_svd_xt.json"
    subprocess.run([sys.executable, TESTS / "support" / "full_size.py", keys, path], check=True)
    yield path
    path.unlink()


def test_svd_xt_animates_in_little_more_memory_than_its_file(svd_xt, tmp_path, capsys):
    size = svd_xt.stat().st_size
    picture = TESTS.parent / "assets" / "rocket.jpg"
    small = ["--frames", "4", "--width", "256", "--height", "128", "--steps", "2", "--device", "cpu"]
    command = [sys.executable, "-c", MEASURE, "animate", picture, "--checkpoint", svd_xt, *small]
    result = subprocess.run(
        [*command, "--output", tmp_path / "clip.mp4"], capture_output=True, text=True, check=True
    )
    path, measured = result.stdout.strip().splitlines()
    status, peak, seconds = (float(number) for number in measured.split())
    with capsys.disabled():
        figures = {"file_GB": size / 1e9, "peak_resident_GB": peak / 1e9, "seconds": seconds}
        print(json.dumps({name: round(value, 2) for name, value in figures.items()}))  # noqa: T201 (the figures)
    assert status == 0
    assert Path(path).stat().st_size > 0
    assert 4.4e9 < size < 4.9e9
    assert peak < 1.15 * size + 0.6e9
