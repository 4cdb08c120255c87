"""What all tests share: waiting threads, which run in one process, how long one may take, one ComfyUI."""

import os
from pathlib import Path

import pytest

# Before torch is imported. Where another process has the second processor, threads that spin while they wait
# for each other take its time slices: five steps of a small clip then took 8 to 47 seconds instead of 1.6.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from support import host

SHARE_A_HOST = ("host", "browser")
LONG_SECONDS = 1800
REHEARSAL_SECONDS = 600  # a full-size model's operations one by one in Python; beside a browser over 180


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items):
    """Where several processes run the tests, keeps a file's in one, and a folder's that share a ComfyUI."""
    for item in items:
        folder, file = item.path.parent.name, item.path.relative_to(Path(__file__).parent)
        item.add_marker(pytest.mark.xdist_group(folder if folder in SHARE_A_HOST else str(file)))
        if item.get_closest_marker("long") or item.get_closest_marker("fullsize"):
            item.add_marker(pytest.mark.timeout(LONG_SECONDS))
        elif folder == "rehearsal":
            item.add_marker(pytest.mark.timeout(REHEARSAL_SECONDS))


@pytest.fixture
def one_thread(monkeypatch):
    """One thread of torch here and in processes that a test starts: another number changes last bits."""
    import torch  # where it is needed: tests of docs and contracts do without

    threads = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
        folders = "tests/host, tests/browser and tests/rehearsal"
        terminalreporter.write_line(f"{folders} skipped: {host.missing_reason()}")
