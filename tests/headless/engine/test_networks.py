"""Networks that come and go, on a device that is played by the CPU under another name."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from stillmotion.headless.engine import networks as engine
from stillmotion.headless.engine.fit import Choice, Held
from stillmotion.headless.engine.networks import HOST, Networks

APART = torch.device("cpu", 0)  # is not equal to torch.device("cpu"), the host's
STAYS, ALONE, STREAMS = Choice(), Choice(alone=True), Choice(streams=True, alone=True)
BYTES = {"small": 4 * 2, "large": 4 * 12}


class Loader:
    """Loaders that count their calls and note the places of the networks."""

    def __init__(self):
        self.loaded: list[tuple[str, torch.device]] = []

    def __call__(self, name):
        def load(device):
            self.loaded.append((name, device))
            width = BYTES[name] // 4 - 1
            return nn.Linear(width, 1, device=device, dtype=torch.float32).requires_grad_(False)

        return load

    def networks(self, device):
        return Networks({name: self(name) for name in BYTES}, device)


@pytest.fixture
def loader():
    return Loader()


@pytest.fixture
def apart(loader, monkeypatch):
    """Networks on a device that has a memory of its own."""
    monkeypatch.setattr(engine, "shares_host_memory", lambda device: False)
    return loader.networks(APART)


def test_a_network_is_loaded_once_and_stays(apart, loader):
    for _ in range(2):
        with apart.use("small", STAYS) as network:
            assert network is apart["small"]
    assert loader.loaded == [("small", APART)]
    assert apart.held("small") == Held(BYTES["small"], 0)
    assert apart.held("large") == Held(0, BYTES["small"])


def test_threads_load_a_network_once(apart, loader):
    with ThreadPoolExecutor(8) as pool:
        networks = set(pool.map(lambda _: apart["large"], range(16)))
    assert len(networks) == 1
    assert len(loader.loaded) == 1


def test_a_network_leaves_for_one_that_needs_its_room_and_comes_back(apart, loader):
    small = apart["small"]
    with apart.use("large", ALONE):
        assert apart.held("small") == Held(0, 0)  # nor is the large one, in use, to be had
    with apart.use("small", STAYS) as network:
        assert network is small
        assert apart.held("small") == Held(BYTES["small"], BYTES["large"])
    assert len(loader.loaded) == 2


def test_a_network_in_use_does_not_leave(apart):
    used, over = threading.Event(), threading.Event()

    def work():
        with apart.use("small", STAYS):
            used.set()
            over.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    used.wait(60)
    try:
        with apart.use("large", ALONE):
            assert apart.held("small").own == BYTES["small"]
            assert apart.held("large").others == 0
    finally:
        over.set()
        thread.join()
    with apart.use("large", ALONE):
        assert apart.held("small").own == 0


def test_in_host_memory_a_network_is_dropped_and_read_again(loader):
    networks = loader.networks(HOST)
    first = networks["small"]
    with networks.use("large", ALONE):
        pass
    assert networks.held("large") == Held(BYTES["large"], 0)
    assert networks["small"] is not first
    assert [name for name, _ in loader.loaded] == ["small", "large", "small"]


def test_a_network_streams_from_host_memory_and_can_come_to_stay(apart, loader):
    with apart.use("small", STREAMS) as network:
        assert apart.held("small").own == 0
        with apart.use("small", STAYS) as again:  # in use, so it goes on streaming
            assert again is network
            assert apart.held("small").own == 0
    assert loader.loaded == [("small", HOST)]
    with apart.use("small", STAYS):
        assert apart.held("small").own == BYTES["small"]
    with apart.use("small", STREAMS):
        assert apart.held("small").own == 0
    with apart.use("large", ALONE), apart.use("small", STREAMS):
        assert apart.held("small").own == 0


def test_a_failed_load_leaves_nothing_in_use(loader):
    def fail(device):
        raise torch.OutOfMemoryError

    networks = Networks({"small": loader("small"), "large": fail}, HOST)
    networks["small"]
    with pytest.raises(torch.OutOfMemoryError), networks.use("large", STAYS):
        pass
    with networks.use("small", STAYS):
        pass
    assert networks.held("large").others == BYTES["small"]
