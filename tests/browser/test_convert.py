"""Conversion of core's graphs for SVD: asked, done in one step of undo, and what comes out runs."""

import json
import os
from pathlib import Path

import pytest

from support import page
from support.page import RENDERERS

COMMAND = "Stillmotion.Convert"
TEXT_NODES = {16, 17, 18, 19, 20, 21, 22, 23}
"""Nodes of core's template that make the first picture from text."""

TYPES = "Object.fromEntries(app.graph.nodes.map(node => [node.id, node.type]))"
PROMPT = "app.graphToPrompt().then(({output}) => output)"
CONVERTED = {
    "15": "StillmotionLoadCheckpoint",
    "12": "StillmotionImageToVideo",
    "3": "StillmotionKSampler",
    "8": "StillmotionDecode",
}


@pytest.fixture(params=RENDERERS)
def shown(request, browser, stocked_server):
    opened = page.open_page(browser, stocked_server, renderer=request.param)
    page.wait_until_at_rest(opened)
    yield opened
    assert opened.errors == []
    opened.context.close()


@pytest.fixture(scope="module")
def text_to_video(stocked_server) -> dict:
    """The template of core's that goes from text through a picture to a video."""
    return stocked_server.get("/templates/txt_to_image_to_video.json")


@pytest.fixture(scope="module")
def image_to_video(text_to_video) -> dict:
    """The half of that template which core offered as a template of its own."""
    workflow = json.loads(json.dumps(text_to_video))
    workflow["nodes"] = [node for node in workflow["nodes"] if node["id"] not in TEXT_NODES]
    ids = {node["id"] for node in workflow["nodes"]}
    workflow["links"] = [link for link in workflow["links"] if {link[1], link[3]} <= ids]
    picture = {
        "id": 23,
        "type": "LoadImage",
        "pos": [-50, 1250],
        "size": [300, 340],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [
            {"name": "IMAGE", "type": "IMAGE", "links": [35]},
            {"name": "MASK", "type": "MASK", "links": None},
        ],
        "properties": {"Node name for S&R": "LoadImage"},
        "widgets_values": ["rocket.jpg", "image"],
    }
    workflow["nodes"].append(picture)
    workflow["links"].append([35, 23, 0, 12, 1, "IMAGE"])
    return workflow


def load(opened, workflow: dict) -> None:
    opened.evaluate("workflow => app.loadGraphData(workflow, true, false)", workflow)
    page.wait_until_at_rest(opened)


def convert(opened, answer: str = "Confirm") -> str:
    """Gives the command, and answers its question; returns the words of the question."""
    opened.evaluate(f"void app.extensionManager.command.execute('{COMMAND}')")
    dialog = opened.get_by_role("dialog")
    words = dialog.inner_text()
    screenshot(opened, f"convert, asked {answer}")
    dialog.get_by_role("button", name=answer).click()
    dialog.wait_for(state="hidden")
    page.wait_until_at_rest(opened)
    return words


def screenshot(opened, name: str) -> None:
    if folder := os.environ.get("STILLMOTION_ARTEFACTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        renderer = "vue" if opened.locator("[data-node-id]").count() else "canvas"
        opened.screenshot(path=Path(folder) / f"{name}, {renderer}.png")


def test_the_half_with_a_picture_becomes_ours_runs_and_is_undone_in_one_step(
    shown, stocked_server, image_to_video
):
    load(shown, image_to_video)
    before = shown.evaluate(PROMPT)
    types = shown.evaluate(TYPES)
    words = convert(shown)
    assert "VAE Decode (8)" in words and "SVD Load Checkpoint" in words and "stays" not in words
    after = shown.evaluate(PROMPT)
    assert {key: node["class_type"] for key, node in after.items()} == {
        **{key: node["class_type"] for key, node in before.items() if key != "14"},
        **CONVERTED,
    }
    sampled = after["3"]["inputs"]
    old = before["3"]["inputs"]
    assert sampled["model"] == ["15", 0] and sampled["latent"] == ["12", 2]
    assert [sampled[name] for name in ("seed", "steps", "sampler", "schedule")] == [
        old[name] for name in ("seed", "steps", "sampler_name", "scheduler")
    ]
    assert [sampled[name] for name in ("shape", "min_guidance", "max_guidance")] == ["linear", 1, 2.5]
    shown.evaluate(
        "app.canvas.ds.offset = [80, -950]; app.canvas.ds.scale = 0.8; app.canvas.setDirty(true, true)"
    )
    page.wait_until_at_rest(shown)
    screenshot(shown, "converted image to video")
    shown.evaluate("app.canvas.canvas.focus()")
    shown.keyboard.press("Control+z")
    shown.wait_for_function(
        f"JSON.stringify({TYPES}) === {json.dumps(json.dumps(types, separators=(',', ':')))}"
    )
    assert shown.evaluate(PROMPT) == before

    convert(shown)
    page.set_widgets(shown, {"width": 64, "height": 64, "frames": 4, "steps": 2})
    page.run(shown, stocked_server)


def test_in_a_subgraph_they_become_ours_with_the_same_values_and_are_undone_in_one_step(
    shown, stocked_server, image_to_video
):
    load(shown, image_to_video)
    inside = [15, 12, 14, 3, 8]
    shown.evaluate(
        "ids => void app.graph.convertToSubgraph(new Set(ids.map(id => app.graph.getNodeById(id))))", inside
    )
    page.wait_until_at_rest(shown)
    page.set_widgets(shown, {"seed": 5, "noise_seed": 5})
    shown.evaluate("app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()")
    before = shown.evaluate(PROMPT)
    around = next(key.split(":")[0] for key in before if ":" in key)
    assert set(before) > {f"{around}:{number}" for number in inside}
    words = convert(shown)
    assert "SVD KSampler" in words and "stays" not in words
    after = shown.evaluate(PROMPT)
    assert {key: node["class_type"] for key, node in after.items()} == {
        key: CONVERTED.get(key.removeprefix(f"{around}:"), node["class_type"])
        for key, node in before.items()
        if key != f"{around}:14"
    }
    old, new = (prompt[f"{around}:12"]["inputs"] for prompt in (before, after))
    assert new["image"] == old["init_image"] and new["noise_aug"] == old["augmentation_level"]
    assert new["frames"] == old["video_frames"] and new["vae"] == [f"{around}:15", 2]
    names = ("width", "height", "fps", "motion_bucket_id")
    assert [new[name] for name in names] == [old[name] for name in names]
    old, new = (prompt[f"{around}:3"]["inputs"] for prompt in (before, after))
    names = {"seed": "seed", "steps": "steps", "sampler": "sampler_name", "schedule": "scheduler"}
    assert [new[name] for name in names] == [old[name] for name in names.values()]
    guidance = [before[f"{around}:14"]["inputs"]["min_cfg"], old["cfg"]]
    assert [new["min_guidance"], new["max_guidance"]] == guidance
    outside = [key for key in before if ":" not in key]
    assert [after[key] for key in outside] == [before[key] for key in outside]
    shown.evaluate("app.canvas.canvas.focus()")
    shown.keyboard.press("Control+z")
    types = "[...app.rootGraph.subgraphs.values()].flatMap(graph => graph.nodes.map(node => node.type))"
    shown.wait_for_function(f"{types}.includes('KSampler')")
    assert shown.evaluate(PROMPT) == before

    convert(shown)
    small = {"width": 64, "height": 64, "frames": 4, "steps": 2}
    shown.evaluate(
        """values => {
            for (const node of [...app.rootGraph.subgraphs.values()].flatMap(graph => graph.nodes))
                for (const widget of node.widgets ?? [])
                    if (widget.name in values) widget.value = values[widget.name]
        }""",
        small,
    )
    page.run(shown, stocked_server)


def test_the_whole_keeps_what_makes_the_picture_from_text(shown, stocked_server, text_to_video):
    load(shown, text_to_video)
    before = shown.evaluate(TYPES)
    assert "17" not in convert(shown)
    after = shown.evaluate(TYPES)
    assert after == {key: kind for key, kind in (before | CONVERTED).items() if key != "14"}
    assert shown.evaluate(PROMPT)["12"]["inputs"]["image"] == ["20", 0]
    held = shown.evaluate(
        """() => {
            const group = app.graph.groups.find(each => each.title === "Image to Video")
            const [x, y, width, height] = group.boundingRect
            return [12, 3, 8].every(id => {
                const {pos, size} = app.graph.getNodeById(id)
                return pos[0] + size[0] <= x + width && pos[1] + size[1] <= y + height
            })
        }"""
    )
    assert held
    screenshot(shown, "converted text to video")


def test_who_says_no_keeps_the_graph(shown, image_to_video):
    load(shown, image_to_video)
    before = shown.evaluate(PROMPT)
    convert(shown, "Cancel")
    assert shown.evaluate(PROMPT) == before


def test_menus_offer_it_where_there_is_something_to_convert(shown, image_to_video):
    load(shown, image_to_video)
    extension = "app.extensions.find(each => each.name === 'Stillmotion.Convert')"
    offered = f"id => {extension}.getNodeMenuItems(app.graph.getNodeById(id)).map(item => item.content)"
    assert shown.evaluate(offered, 12) == ["Convert SVD nodes to Stillmotion"]
    assert shown.evaluate(offered, 23) == []
    shown.evaluate("app.canvas.selectNode(app.graph.getNodeById(12))")
    page.wait_until_at_rest(shown)
    assert shown.get_by_role("button", name="Convert SVD nodes to Stillmotion").count() == 1
    assert "SVD Load Checkpoint" in convert(shown)
    shown.evaluate("app.canvas.deselectAll()")
    assert shown.evaluate(offered, 12) == []


def test_an_older_packs_red_nodes_become_ours(shown, stocked_server):
    loader, old = "SVDModelLoader", {"flags": {}, "mode": 0, "order": 0, "size": [315, 130], "properties": {}}
    image = {"name": "image", "type": "IMAGE", "link": 1}
    nodes = [
        {
            "id": 1,
            "type": loader,
            "pos": [0, 0],
            "inputs": [],
            "widgets_values": ["svd.safetensors", 4, 2, "cpu"],
        },
        {
            "id": 2,
            "type": "LoadImage",
            "pos": [0, 200],
            "inputs": [],
            "widgets_values": ["rocket.jpg", "image"],
        },
        {
            "id": 3,
            "type": "SVDSampler",
            "pos": [400, 0],
            "inputs": [image, {"name": "model", "type": "MODEL", "link": 2}],
            "widgets_values": [90, 7, 0.03, 23, "fixed", "cpu"],
        },
        {
            "id": 4,
            "type": "SVDDecoder",
            "pos": [800, 0],
            "widgets_values": [14, "cpu"],
            "inputs": [
                {"name": "samples_z", "type": "LATENT", "link": 3},
                {"name": "model", "type": "MODEL", "link": 4},
            ],
        },
        {
            "id": 5,
            "type": "SaveImage",
            "pos": [1200, 0],
            "widgets_values": ["old"],
            "inputs": [{"name": "images", "type": "IMAGE", "link": 5}],
        },
    ]
    outputs = {1: ("MODEL", [2, 4]), 2: ("IMAGE", [1]), 3: ("LATENT", [3]), 4: ("IMAGE", [5])}
    for node in nodes:
        node |= old
        kind, links = outputs.get(node["id"], (None, []))
        node["outputs"] = [{"name": kind, "type": kind, "links": links}] if kind else []
    links = [
        [1, 2, 0, 3, 0, "IMAGE"],
        [2, 1, 0, 3, 1, "MODEL"],
        [3, 3, 0, 4, 0, "LATENT"],
        [4, 1, 0, 4, 1, "MODEL"],
        [5, 4, 0, 5, 0, "IMAGE"],
    ]
    load(
        shown,
        {"nodes": nodes, "links": links, "groups": [], "version": 0.4, "last_node_id": 5, "last_link_id": 5},
    )
    shown.keyboard.press("Escape")
    page.wait_until_at_rest(shown)
    words = convert(shown)
    assert "models/checkpoints" in words
    screenshot(shown, "converted old pack")
    page.set_widgets(shown, {"width": 64, "height": 64})
    page.run(shown, stocked_server)
