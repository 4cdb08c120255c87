"""Threads that wait without spinning, and a line at the end on why tests that need a ComfyUI did not run."""

import os

# Before torch is imported, as next. Where another process has the second processor, threads that
# spin while they wait for each other use up its time: five steps of a small clip then took 8 to 47 seconds
# instead of 1.6.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from support import host


def pytest_terminal_summary(terminalreporter):
    """One line, whatever number of tests was skipped for want of a host."""
    if host.find() is None:
        terminalreporter.write_line(f"tests/host and tests/browser skipped: {host.missing_reason()}")
