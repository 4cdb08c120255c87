"""Runs the tests of rounding as other processors compute: python tests/instructions.py [NAME…].

A NAME is an instruction set and a number of threads, such as sse4_1-2; without one, all that this processor
can play. torch and oneDNN are told to use no newer instructions. Prints a table; exits with 1 if any failed.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import torch

TESTS = Path(__file__).parent
PARTS = (
    "test_golden.py",
    "samplers",
    "svd_model",
    "headless/engine/test_local.py",
    "headless/test_pipeline.py",
)
THREADS = (1, 2, 4)

INSTRUCTIONS = {
    # torch's name, oneDNN's, and the capability without which a processor can't play it
    "sse4_1": ("default", "SSE41", "sse4_1"),
    "avx2": ("avx2", "AVX2", "avx2"),
    "avx512": ("avx512", "AVX512_CORE", "avx512_f"),
    "avx512_bf16": ("avx512", "AVX512_CORE_BF16", "avx512_bf16"),
    "amx": ("avx512", "AVX512_CORE_AMX", "amx_bf16"),
}


def playable() -> list[str]:
    """All names that this processor can play."""
    found = torch.cpu.get_capabilities()
    sets = [name for name, (*_, needed) in INSTRUCTIONS.items() if found.get(needed)]
    return [f"{name}-{threads}" for name in sets for threads in THREADS]


def run(name: str) -> bool:
    """Whether the tests pass as that processor computes; writes a row of the table."""
    instructions, _, threads = name.rpartition("-")
    capability, isa, _ = INSTRUCTIONS[instructions]
    environment = os.environ | {
        "ATEN_CPU_CAPABILITY": capability,
        "ONEDNN_MAX_CPU_ISA": isa,
        "OMP_NUM_THREADS": threads,
    }
    tests = [TESTS / part for part in PARTS]
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses", "auto", "--dist", "loadgroup", *tests]
    begin = time.monotonic()
    result = subprocess.run(command, cwd=TESTS.parent, env=environment, capture_output=True, text=True)
    last = result.stdout.strip().rpartition("\n")[2]
    sys.stdout.write(f"| {name} | {last} | {time.monotonic() - begin:.0f} s |\n")
    sys.stdout.flush()
    if result.returncode:
        sys.stdout.write(result.stdout[-8000:] + result.stderr[-2000:])
    return result.returncode == 0


def main() -> None:
    """The command line."""
    names = sys.argv[1:] or playable()
    known = [f"{name}-{threads}" for name in INSTRUCTIONS for threads in THREADS]
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"{', '.join(unknown)}: known are {', '.join(known)}.")
    sys.stdout.write("| instructions-threads | tests | time |\n|---|---|---|\n")
    passed = [run(name) for name in names]
    if not all(passed):
        sys.exit(1)


if __name__ == "__main__":
    main()
