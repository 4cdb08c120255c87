"""An interpreter for scripts that play a GPU: one with a CUDA build of torch."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from support import host


@cache
def _found() -> Path | None:
    """This interpreter, or the host's."""
    if torch.version.cuda:
        return Path(sys.executable)
    found = host.find()
    if found is None:
        return None
    asked = [found.python, "-c", "import torch; print(torch.version.cuda or '')"]
    return found.python if subprocess.run(asked, capture_output=True, text=True).stdout.strip() else None


def interpreter() -> Path:
    """Path of the interpreter; skips the test where there is none."""
    found = _found()
    if found is None:
        pytest.skip(f"no CUDA build of torch found, in the host's .venv for example: {host.missing_reason()}")
    return found
