"""The websocket of a ComfyUI while a graph runs: see watch.py for the words and the messages."""

import json
import subprocess
from pathlib import Path

from support import host

WATCH = Path(__file__).parent / "watch.py"


def watch(server, graph: dict, method: str = "default", *words: str) -> list[dict]:
    """All messages about a graph, in the order in which they came, with a method of previews."""
    return watch_beside(server, graph, method, *words)[0]


def watch_beside(server, graph: dict, method: str = "default", *words: str) -> tuple[list[dict], list[str]]:
    """All messages about a graph, and the types of the messages to another client."""
    command = [host.require().python, WATCH, server.url, method, *words]
    result = subprocess.run(command, input=json.dumps(graph), capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    *messages, others = [json.loads(line) for line in result.stdout.splitlines()]
    assert messages[-1]["type"] == "execution_success", messages[-1]
    return messages, others["data"]
