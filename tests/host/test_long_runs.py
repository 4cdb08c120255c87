"""Cancelling and what it leaves in memory, and many prompts in a row."""

import threading
import time

import psutil
import pytest

from support import graphs, host
from support.graphs import node


def cancel_after(server, prompt_id: str, running: float) -> dict:
    """The history entry of a prompt cancelled some seconds after it began."""
    deadline = time.monotonic() + 60
    while not server.get("/queue")["queue_running"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(running)
    server.send("/interrupt", {})
    return server.wait(prompt_id)


def sampling(steps: int) -> dict:
    """Samples 16 frames of 256×256, and saves their latents."""
    size = {"width": 256, "height": 256, "frames": 16}
    whole = graphs.first_video(seed=steps, prepare=size, sample={"steps": steps})
    save = node("SaveLatent", samples=["sample", 0], filename_prefix="latent")
    return {name: whole[name] for name in ("load", "image", "prepare", "sample")} | {"save": save}


def decoding(frames: int) -> dict:
    """Decodes that many frames of 512×512."""
    return {
        "load": node("StillmotionLoadCheckpoint", checkpoint="tiny_svd.safetensors"),
        "latent": node("EmptyLatentImage", width=512, height=512, batch_size=frames),
        "decode": node("StillmotionDecode", latent=["latent", 0], vae=["load", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="decoded"),
    }


def encoding(pictures: int) -> dict:
    """Encodes that many pictures of 1024×1024."""
    size = {"width": 1024, "height": 1024, "upscale_method": "bilinear", "crop": "center"}
    return {
        "load": node("StillmotionLoadCheckpoint", checkpoint="tiny_svd.safetensors"),
        "image": node("LoadImage", image="rocket.jpg"),
        "scale": node("ImageScale", image=["image", 0], **size),
        "repeat": node("RepeatImageBatch", image=["scale", 0], amount=pictures),
        "encode": node("VAEEncode", pixels=["repeat", 0], vae=["load", 2]),
        "save": node("SaveLatent", samples=["encode", 0], filename_prefix="encoded"),
    }


# Each would take many minutes; the checkpoint loads in the first moment.
LONG = {
    "loading": (sampling(1000), sampling(1), 0.0),
    "sampling": (sampling(999), sampling(1), 4.0),
    "decoding": (decoding(100), decoding(4), 6.0),
    "encoding": (encoding(40), encoding(1), 6.0),
}


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
    deadline = time.monotonic() + 120  # its worker may be starved of the processor
    last = None
    while True:  # its worker comes to it, and is at rest when nothing changes any more
        found = server.get("/tests/memory")
        if found["tensors"] <= MOST_OF_NO_MODEL and found == last:
            return found
        assert time.monotonic() < deadline, found
        last = found
        time.sleep(0.5)


@pytest.fixture(scope="module")
def quiet_server(base):
    """A server of its own: what it holds is what these tests left there."""
    with host.Server(base) as running:
        yield running


@pytest.mark.parametrize("stage", LONG)
def test_cancel_stops_at_once_and_leaves_nothing_allocated_and_the_next_prompt_runs(quiet_server, stage):
    """Live tensors in number and bytes, and resident memory, against before the cancelled prompt.

    A short prompt of the kind has run to its end before: what the host and torch set up once is no leak.
    """
    graph, short, running = LONG[stage]
    server = quiet_server
    assert host.succeeded(server.run(short))
    before = memory_when_freed(server)
    with PeakResident(server.pid) as peak:
        entry = cancel_after(server, server.post(graph)["prompt_id"], running)
    assert not host.succeeded(entry)
    assert any(kind == "execution_interrupted" for kind, _ in entry["status"]["messages"])
    after = memory_when_freed(server)
    if running:  # the activations are large enough to be missed
        assert peak.bytes > before["resident"] + 200e6
    assert (after["tensors"], after["bytes"]) == (before["tensors"], before["bytes"])
    assert after["resident"] < before["resident"] + 30e6
    assert host.succeeded(server.run(short))


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
