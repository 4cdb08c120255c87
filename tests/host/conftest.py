"""One running ComfyUI for all host tests that need no switches of their own."""

import pytest

from support import host


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    host.require()
    return host.make_base(tmp_path_factory.mktemp("comfyui"), pack_name="any folder name")


@pytest.fixture(scope="session")
def server(base):
    with host.Server(base) as running:
        yield running
