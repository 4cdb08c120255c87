"""The event before a preview: what it says, who gets it, and when; and the pace of previews.

The server has --preview-method latent2rgb among its switches; the plain one leaves previews off.
"""

import base64
import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageOps

from support import graphs, in_host
from support.graphs import node
from support.watching import watch, watch_beside

EVENT = "stillmotion.preview"
FRAMES, STEPS = 5, 4


def graph_of(seed: int, fps: float = 8.0) -> dict:
    return graphs.first_video(seed=seed, prepare={"frames": FRAMES, "fps": fps}, sample={"steps": STEPS})


def with_cores_sampler(graph: dict) -> dict:
    inputs = {"model": ["load", 0], "positive": ["prepare", 0], "negative": ["prepare", 1], "seed": 1}
    inputs |= {"latent_image": ["prepare", 2], "steps": STEPS, "cfg": 2.5, "sampler_name": "euler"}
    return graph | {"sample": node("KSampler", **inputs, scheduler="karras", denoise=1.0)}


def of_type(messages: list[dict], kind: str) -> list[dict]:
    return [message for message in messages if message["type"] == kind]


@pytest.mark.parametrize("words", [(), ("metadata",)], ids=["older client", "client with metadata"])
@pytest.mark.parametrize("of_core", [False, True], ids=["ours", "core's"])
def test_an_event_comes_before_each_picture_and_to_no_other_client(switched_server, of_core, words):
    graph = with_cores_sampler(graph_of(1)) if of_core else graph_of(1)
    messages, others = watch_beside(switched_server, graph, "default", *words)
    kinds = [message["type"] for message in messages if message["type"] in (EVENT, "preview")]
    assert len(kinds) >= 4
    assert all(pair == (EVENT, "preview") for pair in pairwise(kinds) if pair[0] == EVENT)
    assert kinds.count(EVENT) == kinds.count("preview") and kinds[0] == EVENT
    sizes = {"frames": FRAMES, "columns": 3, "rows": 2, "fps": 8.0, "node": "sample", "steps": STEPS}
    for event in of_type(messages, EVENT):
        assert {name: event["data"][name] for name in sizes} == sizes
        assert event["data"]["prompt_id"] == messages[-1]["data"]["prompt_id"]
    steps = [event["data"]["step"] for event in of_type(messages, EVENT)]
    assert steps == sorted(set(steps)) and steps[0] == 1 and steps[-1] == STEPS
    for picture in of_type(messages, "preview"):
        assert (picture["about"] or {}).get("node_id") == ("sample" if words else None)
    assert not {EVENT, "preview"} & set(others) and "status" in others


def test_clients_with_and_without_metadata_get_pictures_of_one_content(switched_server):
    first, second = (
        of_type(watch(switched_server, graph_of(2), "default", *words), "preview")
        for words in ((), ("metadata",))
    )
    for place in (0, -1):  # between them each run shows the steps that its time allows
        assert first[place]["data"] == second[place]["data"]


@pytest.mark.parametrize("of_core", [False, True], ids=["ours", "core's"])
def test_without_a_setting_the_page_alone_is_shown_previews(server, of_core):
    """The host's are off then; a client of the API gets as little from us, and "none" is the user's word."""
    seeds = iter(range(20 + 10 * of_core, 30 + 10 * of_core))

    def shown(*words: str) -> list[str]:
        graph = graph_of(next(seeds))
        if of_core:
            graph = with_cores_sampler(graph)
            graph["sample"]["inputs"]["seed"] = next(seeds)
        messages = watch(server, graph, *words)
        return [message["type"] for message in messages if message["type"] in (EVENT, "preview")]

    assert shown("default", "metadata", "page")[:2] == [EVENT, "preview"]
    assert shown("default", "metadata") == []
    assert shown("none", "metadata", "page") == []
    assert shown("default", "metadata", "off") == []


def test_animate_ends_in_its_finished_frames(server, base):
    """The last picture is of the decoded frames, not of latents."""
    animate = node(
        "StillmotionAnimate", checkpoint="tiny_svd.safetensors", image=["image", 0], seed=3, motion=127
    )
    animate["inputs"] |= {"width": 128, "height": 64, "frames": FRAMES, "steps": 2}
    graph = {
        "image": node("LoadImage", image="rocket.jpg"),
        "animate": animate,
        "save": node("SaveImage", images=["animate", 0], filename_prefix="finished"),
    }
    messages = watch(server, graph, "default", "metadata", "page")
    sheet = Image.open(io.BytesIO(base64.b64decode(of_type(messages, "preview")[-1]["data"])))
    files = sorted((base / "output").glob("finished*.png"))
    assert len(files) == FRAMES
    by_hand = Image.new("RGB", (3 * 128, 2 * 64))
    for index, file in enumerate(files):
        by_hand.paste(Image.open(file).convert("RGB"), (index % 3 * 128, index // 3 * 64))
    file = io.BytesIO()
    ImageOps.contain(by_hand, (512, 512), Image.BILINEAR).save(file, "JPEG", quality=95)
    expected = np.asarray(Image.open(file), float)
    assert np.abs(np.asarray(sheet, float) - expected).mean() < 2  # a PNG is cut off, a preview rounded


PACE = """
from pack.nodes.host import moving

def shown(step_time, cost, steps):
    now = [0.0]
    pace = moving.Pace(lambda: now[0])
    due, spent = [], 0.0
    for step in range(steps):
        now[0] += step_time
        if pace.is_due(step, step == steps - 1):
            due.append(step)
            now[0] += cost
            pace.spend()
            spent += cost
    return [due, spent / (steps * step_time)]

print(json.dumps([shown(1.0, cost, 100) for cost in (0.0, 0.01, 0.049, 0.0501, 0.5, 50.0)]))
"""


def test_previews_take_at_most_a_twentieth_of_the_time_but_for_the_first_and_the_last():
    runs = in_host.result_of(PACE)
    assert [len(due) for due, _ in runs] == [100, 100, 100, 51, 11, 2]
    assert all(due[0] == 0 and due[-1] == 99 for due, _ in runs)
    for cost, (_, share) in zip((0.0, 0.01, 0.049, 0.0501, 0.5, 50.0), runs, strict=True):
        assert share <= 0.05 + 2 * cost / 100
