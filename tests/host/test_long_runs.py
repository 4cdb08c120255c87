"""Cancelling and what it leaves in memory, and many prompts in a row."""

import threading
import time

import psutil
import pytest

from support import graphs, host


def cancel_after(server, prompt_id: str, running: float) -> dict:
    """The history entry of a prompt cancelled some seconds after it began."""
    deadline = time.monotonic() + 60
    while not server.get("/queue")["queue_running"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(running)
    server.send("/interrupt", {})
    return server.wait(prompt_id)


@pytest.mark.parametrize("running", [0.0, 3.0])
def test_cancel_stops_the_prompt_and_the_next_one_runs(server, running):
    """At once, while the checkpoint loads, and in the middle of sampling, which would take many minutes."""
    graph = graphs.first_video(seed=900 + int(running), sample={"steps": 1000})
    entry = cancel_after(server, server.post(graph)["prompt_id"], running)
    assert not host.succeeded(entry)
    assert any(kind == "execution_interrupted" for kind, _ in entry["status"]["messages"])
    assert host.succeeded(server.run(graphs.first_video(seed=901)))


MOST_OF_NO_MODEL = 100  # the tiny checkpoint alone is more than a thousand tensors


class PeakResident:
    """The most resident bytes of a process while the block runs."""

    def __init__(self, pid: int):
        self._process, self._over = psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.bytes = 0

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.bytes = max(self.bytes, self._process.memory_info().rss)

    def __enter__(self) -> "PeakResident":
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._over.set()
        self._thread.join()


def memory_when_freed(server) -> dict:
    """The live tensors and resident bytes once the host has let go of models and cached outputs."""
    server.send("/free", {"unload_models": True, "free_memory": True})
    deadline = time.monotonic() + 30
    while (found := server.get("/tests/memory"))["tensors"] > MOST_OF_NO_MODEL:  # its worker comes to it
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found


@pytest.mark.parametrize("running", [0.0, 4.0], ids=["loading", "sampling"])
def test_cancel_leaves_nothing_allocated(base, running):
    """Live tensors in number and bytes, and resident memory, against before the cancelled prompt.

    The same prompt has run to its end before, since what the host and torch set up once is no leak.
    """

    def graph(steps: int) -> dict:
        size = {"width": 256, "height": 256, "frames": 16}
        whole = graphs.first_video(seed=steps, prepare=size, sample={"steps": steps})
        save = graphs.node("SaveLatent", samples=["sample", 0], filename_prefix="latent")
        return {name: whole[name] for name in ("load", "image", "prepare", "sample")} | {"save": save}

    with host.Server(base) as server:
        assert host.succeeded(server.run(graph(1)))
        before = memory_when_freed(server)
        with PeakResident(server.pid) as peak:
            entry = cancel_after(server, server.post(graph(1000))["prompt_id"], running)
        assert any(kind == "execution_interrupted" for kind, _ in entry["status"]["messages"])
        after = memory_when_freed(server)
    if running:  # the activations are large enough to be missed
        assert peak.bytes > before["resident"] + 200e6
    assert (after["tensors"], after["bytes"]) == (before["tensors"], before["bytes"])
    assert after["resident"] < before["resident"] + 30e6


def test_memory_does_not_grow_over_many_prompts(base):
    with host.Server(base) as server:
        process = psutil.Process(server.pid)
        resident = []
        for seed in range(50):
            assert host.succeeded(server.run(graphs.first_video(seed=seed)))
            resident.append(process.memory_info().rss)
    assert resident[49] < 1.03 * resident[4], (
        f"{resident[4] / 1e6:.0f} MB grew to {resident[49] / 1e6:.0f} MB"
    )
