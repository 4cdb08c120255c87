"""Cancelling and what it leaves in memory, and many prompts in a row."""

import time

import psutil
import pytest

from support import graphs, host
from support.graphs import node


def watched(graph: dict, node_name: str, input_name: str) -> dict:
    """The graph with all work counted from where that input is known."""
    inputs = graph[node_name]["inputs"]
    graph["watch"] = node("TestsWatchWork", value=inputs[input_name], hold_at=-1)
    inputs[input_name] = ["watch", 0]
    return graph


def loading() -> dict:
    """Loads a checkpoint, then encodes a picture with it."""
    return watched(encoding(), "load", "checkpoint")


def sampling(make=graphs.first_video) -> dict:
    """Samples four steps, and saves the latents."""
    whole = watched(make(sample={"steps": 4}), "sample", "latent")
    save = node("SaveLatent", samples=["sample", 0], filename_prefix="latent")
    return {name: given for name, given in whole.items() if name != "decode"} | {"save": save}


def sampling_long(way: str) -> dict:
    """Samples 8 frames in chunks or windows of 4, and saves the latents."""
    whole = watched(graphs.long_video(sample={"long": way}), "sample", "latent")
    save = node("SaveLatent", samples=["sample", 0], filename_prefix="latent")
    return {name: given for name, given in whole.items() if name != "decode"} | {"save": save}


def decoding() -> dict:
    """Decodes 8 frames of 256×128."""
    graph = {
        "load": node("StillmotionLoadCheckpoint", checkpoint="tiny_svd.safetensors"),
        "latent": node("EmptyLatentImage", width=256, height=128, batch_size=8),
        "decode": node("StillmotionDecode", latent=["latent", 0], vae=["load", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="decoded"),
    }
    return watched(graph, "decode", "vae")


def encoding() -> dict:
    """Encodes 8 pictures of 256×256."""
    size = {"width": 256, "height": 256, "upscale_method": "bilinear", "crop": "center"}
    graph = {
        "load": node("StillmotionLoadCheckpoint", checkpoint="tiny_svd.safetensors"),
        "image": node("LoadImage", image="rocket.jpg"),
        "scale": node("ImageScale", image=["image", 0], **size),
        "repeat": node("RepeatImageBatch", image=["scale", 0], amount=8),
        "encode": node("VAEEncode", pixels=["repeat", 0], vae=["load", 2]),
        "save": node("SaveLatent", samples=["encode", 0], filename_prefix="encoded"),
    }
    return graph


# For each stage its graph; the share of its calls of torch after which it is in that stage and far from its
# end; and the share of its products (convolutions, products of matrices, attentions) that may begin after a
# cancel: what the stage does between two looks at whether it is cancelled.
STAGES = {
    "loading": (loading, 0.1, 0),
    "sampling": (sampling, 0.5, 4 / 600),  # a layer: a folded upsampling has four products, a gated one two
    "sampling a chain": (lambda: sampling_long("chain"), 0.7, 4 / 600),  # in its third chunk
    "sampling windows": (lambda: sampling_long("windows"), 0.5, 4 / 600),
    "sampling to a last frame": (lambda: sampling(graphs.first_last), 0.5, 4 / 600),
    "decoding": (decoding, 0.5, 0.05),  # a block of layers, for some of the frames
    "encoding": (lambda: watched(encoding(), "encode", "vae"), 0.5, 1 / 8),  # a picture
}


def hold(server, graph: dict, call: int) -> str:
    """Queues a graph that is held at a call of torch, and waits until it is; the prompt's id."""
    graph = graph | {"watch": graph["watch"] | {"inputs": graph["watch"]["inputs"] | {"hold_at": call}}}
    prompt_id = server.post(graph)["prompt_id"]
    deadline = time.monotonic() + host.GUARD_SECONDS
    while not server.get("/tests/work")["holding"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return prompt_id


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_stops_at_once_and_leaves_nothing_allocated_and_the_next_prompt_runs(server, stage):
    """Stopped half-way, when the cancel is there by all means: what begins after it, and what stays alive.

    The whole of the prompt has run before: what the host and torch set up once is no leak.
    """
    make, share, most = STAGES[stage]
    graph = make()
    server.freed()
    assert host.succeeded(server.run(graph))
    whole = server.get("/tests/work")
    before = server.freed()

    prompt_id = hold(server, graph, int(share * whole["calls"]))
    during = server.get("/tests/memory")
    server.send("/interrupt", {})
    entry = server.wait(prompt_id)
    stopped = server.get("/tests/work")

    assert any(kind == "execution_interrupted" for kind, _ in entry["status"]["messages"])
    assert (stopped["products"] == 0) == (stage == "loading")
    left = whole["products"] - (stopped["products"] - stopped["products_after_cancel"])
    assert stopped["products_after_cancel"] <= most * whole["products"] < left / 3
    assert during["tensors"] > before["tensors"] + host.MOST_OF_NO_MODEL and during["bytes"] > 1e7
    after = server.freed()
    assert (after["tensors"], after["bytes"]) == (before["tensors"], before["bytes"])
    assert host.succeeded(server.run(graph))


def test_no_tensor_stays_alive_from_prompt_to_prompt(switched_server):
    """Where the host caches nothing, what is alive after a prompt is the same after each of eight."""
    alive = set()
    for seed in range(8):
        assert host.succeeded(switched_server.run(graphs.first_video(seed=seed)))
        found = switched_server.get("/tests/memory")
        alive.add((found["tensors"], found["bytes"]))
    assert len(alive) == 1


@pytest.mark.long
def test_memory_does_not_grow_over_many_prompts(base):
    """Resident bytes of the process, which other work on the machine may blur."""
    with host.Server(base) as server:
        process = psutil.Process(server.pid)
        resident = []
        for seed in range(50):
            assert host.succeeded(server.run(graphs.first_video(seed=seed)))
            resident.append(process.memory_info().rss)
    assert resident[49] < 1.03 * resident[4], (
        f"{resident[4] / 1e6:.0f} MB grew to {resident[49] / 1e6:.0f} MB"
    )
