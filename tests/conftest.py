"""One running ComfyUI for the tests of the host and of its page, and why they did not run without one."""

import pytest

from support import host


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The base directory of the servers: the pack under another name than its own, and tiny checkpoints."""
    host.require()
    return host.make_base(tmp_path_factory.mktemp("comfyui"), pack_name=host.PACK_NAME)


@pytest.fixture(scope="session")
def server(base):
    """A ComfyUI without switches."""
    with host.Server(base) as running:
        yield running


def pytest_terminal_summary(terminalreporter):
    """One line, whatever number of tests was skipped for want of a host."""
    if host.find() is None:
        terminalreporter.write_line(f"tests/host and tests/browser skipped: {host.missing_reason()}")
