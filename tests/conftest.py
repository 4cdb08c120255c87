"""Says once, at the end, why the tests that need a ComfyUI did not run."""

from support import host


def pytest_terminal_summary(terminalreporter):
    """One line, whatever number of tests was skipped for want of a host."""
    if host.find() is None:
        terminalreporter.write_line(f"tests/host and tests/browser skipped: {host.missing_reason()}")
