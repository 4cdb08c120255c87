"""Scripts on the pack's functions, run by the host's interpreter without a server."""

import json
import subprocess

from support import host

_BEGIN = """
import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
import comfy.cli_args
comfy.cli_args.args.cpu = True
import torch
root = sys.argv[2]
file = root + "/__init__.py"
spec = importlib.util.spec_from_file_location("pack", file, submodule_search_locations=[root])
sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["pack"])
"""


def result_of(script: str):
    """Runs a script, which has torch, json, sys and `pack`; returns the JSON of its last line."""
    checkout = host.require()
    command = [checkout.python, "-c", _BEGIN + script, checkout.path, host.ROOT]
    result = subprocess.run(command, capture_output=True, text=True, cwd=checkout.path)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])
