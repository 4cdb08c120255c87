"""Cancelling, and many prompts in a row."""

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
