"""Every row of docs/COMFYUI_CONTRACT.md: our MODEL and what other nodes rely on, beside core's UNet.

scripts/contract.py does the work, in the host's Python, for all rows at once.
"""

import json
import re
import subprocess

import pytest

from support import checkpoints, host, tiny

PAGE = host.ROOT / "docs" / "COMFYUI_CONTRACT.md"
SCRIPT = host.ROOT / "tests" / "host" / "scripts" / "contract.py"
ROW = re.compile(r"^\| `([^`]+)` \|[^|]+\| ([^|]+) \|$", re.MULTILINE)
ROWS = dict(ROW.findall(PAGE.read_text(encoding="utf-8")))  # what ours does, by the key
SLOW = "set_torch_compile_wrapper"  # compiles the UNet: a minute


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """The tiny SVD."""
    return checkpoints.write(tmp_path_factory.mktemp("contract") / "tiny_svd.safetensors", sizes=tiny.SMALL)


def ask(checkpoint, *keys: str) -> dict[str, dict]:
    """What came of the keys, or of all but the slow one."""
    found = host.require()
    command = [found.python, SCRIPT, host.ROOT, checkpoint, *keys]
    run = subprocess.run(command, cwd=found.path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def outcomes(checkpoint):
    """By key."""
    return ask(checkpoint)


def check(says: str, outcome: dict) -> None:
    """That what came is what the page says."""
    assert "fault" not in outcome, outcome["fault"]
    if says.startswith("refused"):
        (words,) = re.findall('"([^"]+)"', says)
        assert words in outcome.get("words", "nothing was said")
    else:
        assert says.startswith("honoured")
        assert outcome == {"kept": True}


@pytest.mark.parametrize("key", [key for key in ROWS if key != SLOW])
def test_it_is_as_the_page_says(outcomes, key):
    check(ROWS[key], outcomes[key])


@pytest.mark.long
def test_a_compiled_model_is_as_the_page_says(checkpoint):
    check(ROWS[SLOW], ask(checkpoint, SLOW)[SLOW])


def test_the_page_has_a_row_for_whatever_is_asked(outcomes):
    assert outcomes.keys() == ROWS.keys() - {SLOW}
