"""Starts ranks of a script: processes that find each other as torchrun's do."""

import os
import socket
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent


def environments(size: int, threads: int = 1) -> list[dict[str, str]]:
    """The environment of each rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(TESTS)}
    return [os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def start(size: int, script: Path, *arguments: object, threads: int = 1) -> list[subprocess.Popen]:
    """Starts a script once for each rank."""
    command = [sys.executable, str(script), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen(command, env=environment, cwd=TESTS.parent, **pipes)
        for environment in environments(size, threads)
    ]


def finish(processes: list[subprocess.Popen], seconds: float = 120) -> list[tuple[int, str, str]]:
    """Waits for all ranks; the status, output and errors of each."""
    found = []
    try:
        for process in processes:
            out, errors = process.communicate(timeout=seconds)
            found.append((process.returncode, out, errors))
    finally:
        for process in processes:
            process.kill()
    return found
