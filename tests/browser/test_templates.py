"""The example workflows in the real page, in both of its renderers: opened as a user does, looked at, run."""

import itertools
import os
import re
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

from support import graphs, host, page
from support.graphs import NAMES, NODE_GRAPHS
from support.page import CANVAS, RENDERERS, VUE

GAP = 10  # pixels that a user sees between two nodes
SIZE, FRAMES, STEPS = 64, 4, 2
FIRST_SIGHT = {"width": 1280, "height": 720}
"""A small window, in which the page's threshold for grey boxes, 57 %, is the nearest."""
MOST_NODES = 6
MORE_NODES = {
    "3 Every knob": "it shows the nodes of a clip",
    "4 Several images at once": "two pictures become two videos",
    "7 Sampler in parts": "it shows the nodes that a sampler is made of",
}
"""Templates with more nodes than a glance takes in, each with its reason."""
APP = "22 Picture to video.app"
EVERY_COMMIT = ("1 First video", "3 Every knob", "14 First and last frame", "17 Drag a part")
"""Templates that are opened for every commit: of few nodes, of many, of two pictures, with an editor."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            (renderer, template),
            marks=() if renderer == CANVAS and template in EVERY_COMMIT else pytest.mark.long,
            id=f"{template}, {renderer}",
        )
        for renderer, template in itertools.product((CANVAS, VUE), NODE_GRAPHS)
    ],
)
def opened(request, browser, stocked_server):
    """A template in the page, as the user who opened it sees it: (page, renderer, template)."""
    renderer, template = request.param
    shown = page.open_page(browser, stocked_server, renderer)
    page.open_template(shown, template)
    yield shown, renderer, template
    shown.context.close()


def screenshot(shown, name: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("STILLMOTION_ARTEFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    shown.screenshot(path=folder / f"{name}.png")


def meeting(places: dict) -> list[str]:
    """The pairs of nodes with less than the gap between them, in words."""
    pairs = itertools.combinations(places.items(), 2)
    return [f"{one} and {two}" for (one, a), (two, b) in pairs if a.meets(b, GAP)]


def test_the_host_offers_every_template_with_its_picture(stocked_server):
    assert sorted(stocked_server.get("/api/workflow_templates")[host.PACK_NAME]) == NAMES
    for template in NAMES:
        for ending, kind in (("json", "application/json"), ("jpg", "image/jpeg")):
            path = f"/api/workflow_templates/{quote(host.PACK_NAME)}/{quote(template)}.{ending}"
            with urllib.request.urlopen(stocked_server.url + path, timeout=30) as answer:
                assert (answer.status, answer.headers["content-type"]) == (200, kind), path


def test_nothing_is_missing_where_the_files_are_there(opened):
    shown, _, _ = opened
    # The page shows this message where a node, a model or a picture is missing.
    assert shown.get_by_test_id("error-overlay").all_inner_texts() == []
    unknown = "app.graph.nodes.filter(n => !LiteGraph.registered_node_types[n.type]).map(n => n.type)"
    assert shown.evaluate(unknown) == []
    assert shown.evaluate("app.graph.nodes.filter(n => n.has_errors).map(n => n.type)") == []
    assert shown.get_by_role("dialog").count() == 0
    assert shown.errors == []


def test_no_two_nodes_meet(opened):
    shown, renderer, _ = opened
    assert meeting(page.places(shown, renderer)) == []


def test_the_sizes_are_those_that_the_host_gives(opened):
    """What the page has to enlarge it pushes over the neighbour."""
    shown, renderer, template = opened
    if renderer == VUE:
        pytest.skip("its sizes depend on the fonts of the system")
    given = dict(shown.evaluate("app.graph.nodes.map(n => [n.id, [...n.size].map(Math.round)])"))
    assert {str(node["id"]): node["size"] for node in graphs.read(template)["nodes"]} == given


def test_all_of_it_can_be_read_at_first_sight(opened):
    """All in view, large enough for the page to write the words, and nothing below the page's own panels."""
    shown, renderer, _ = opened
    assert not shown.evaluate("app.canvas.low_quality")
    window = page.Rectangle(0, 0, *shown.viewport_size.values())
    scale, (left, top) = shown.evaluate("[app.canvas.ds.scale, [...app.canvas.ds.offset]]")
    panels = [
        page.Rectangle(*shown.get_by_test_id(name).bounding_box().values())
        for name in ("minimap-container", "queue-button")
    ]
    for name, place in page.places(shown, renderer).items():
        x, y = (place.x + left) * scale, (place.y + top) * scale
        seen = page.Rectangle(x, y, place.width * scale, place.height * scale)
        assert window.holds(seen) and not any(seen.meets(panel) for panel in panels), name
    cut = """[...document.querySelectorAll('.comfy-markdown .tiptap, .comfy-markdown-content')]
        .filter(text => text.offsetParent && text.scrollHeight > text.clientHeight + 1).length"""
    assert shown.evaluate(cut) == 0


def test_it_runs_and_preview_and_videos_have_room(opened, stocked_server, tmp_path):
    shown, renderer, template = opened
    sizes = {"width": SIZE, "height": SIZE, "frames": FRAMES, "chunk": FRAMES, "steps": STEPS}
    page.set_widgets(shown, sizes)
    stocked_server.freed()  # so that the loader runs, and says on its node what memory a clip needs
    entry = page.run(shown, stocked_server)
    saving = [node for node in graphs.read(template)["nodes"] if node["type"] == "SaveVideo"]
    assert len(entry["outputs"]) == len(saving)
    page.wait_for_videos(shown, len(saving))
    # The clip that moves while it is made is on the graph that is seen, not in the subgraph alone.
    moves = "app.rootGraph.nodes.some(n => n.widgets?.some(w => w.name === 'moving_preview'))"
    shown.wait_for_function(moves)
    screenshot(shown, f"{template}, {renderer}", tmp_path)
    assert meeting(page.places(shown, renderer)) == []
    assert shown.errors == []


def test_no_box_is_grey_in_a_small_window(opened):
    shown, _, template = opened
    usual = shown.viewport_size
    shown.set_viewport_size(FIRST_SIGHT)
    page.wait_until_at_rest(shown)
    # As the page itself loads a template.
    load = "([workflow, name]) => app.loadGraphData(workflow, true, true, name, {openSource: 'template'})"
    shown.evaluate(load, [graphs.read(template), template])
    page.wait_until_at_rest(shown)
    scale, grey = shown.evaluate("[app.canvas.ds.scale, app.canvas.low_quality]")
    shown.set_viewport_size(usual)
    assert scale >= 0.6 and not grey, scale


@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_app_opens_as_an_app_and_runs(browser, stocked_server, renderer):
    shown = page.open_page(browser, stocked_server, renderer)
    shown.get_by_role("button", name="Templates").first.click()
    shown.get_by_text(host.PACK_NAME, exact=True).click()
    shown.get_by_role("heading", name=APP, exact=True).click()
    inputs = shown.get_by_test_id("linear-widgets")
    inputs.wait_for()
    page.wait_until_at_rest(shown)
    assert shown.evaluate("app.extensionManager.workflow.activeWorkflow.suffix") == "app.json"
    words = inputs.inner_text()
    assert all(name in words for name in ("image", "checkpoint", "motion", "seed")) and "decoder" not in words
    page.set_widgets(shown, {"width": SIZE, "height": SIZE, "frames": FRAMES, "steps": STEPS})
    answer = stocked_server.post(shown.evaluate("app.graphToPrompt().then(({output}) => output)"))
    entry = stocked_server.wait(answer["prompt_id"])
    assert host.succeeded(entry), host.error_of(entry)
    assert shown.errors == []
    shown.context.close()


def notes_of(template: str) -> list[str]:
    nodes = graphs.read(template)["nodes"]
    return [node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote"]


@pytest.mark.parametrize("template", NAMES)
def test_a_template_is_taken_in_at_a_glance(template):
    """The technical nodes are in a subgraph."""
    many = len(graphs.read(template)["nodes"]) > MOST_NODES
    assert many == (template in MORE_NODES)


@pytest.mark.parametrize("template", NAMES)
def test_its_note_says_how_much_memory(template):
    (note,) = notes_of(template)
    assert re.search(r"\*\*Memory( and time)?\*\*[^\n]* GB", note)


@pytest.mark.parametrize("template", NAMES)
def test_a_subgraph_shows_the_values_of_its_nodes(template):
    """Which of the two a reader of the file takes, it is the same prompt."""
    workflow = graphs.read(template)
    for subgraph in workflow.get("definitions", {}).get("subgraphs", ()):
        (around,) = (node for node in workflow["nodes"] if node["type"] == subgraph["id"])
        inside = {node["id"]: node for node in subgraph["nodes"]}
        names = [one["name"] for one in around["inputs"] if "widget" in one]
        shown = dict(zip(names, around["widgets_values"], strict=True))
        assert shown and shown == around["widgets_values_named"]
        for link in subgraph["links"]:
            name = subgraph["inputs"][link["origin_slot"]]["name"] if link["origin_id"] == -10 else None
            if name not in shown:
                continue
            node = inside[link["target_id"]]
            widget = node["inputs"][link["target_slot"]]["name"]
            assert (node["widgets_values_named"] or {}).get(widget, shown[name]) == shown[name]


@pytest.mark.parametrize("template", NAMES)
def test_a_template_says_what_it_needs(template):
    nodes = graphs.nodes_of(graphs.read(template))
    for node in nodes:
        if node["type"] == "MarkdownNote":
            continue
        ours = node["type"].startswith("Stillmotion")
        properties = node["properties"]
        assert properties["cnr_id"] == ("stillmotion" if ours else "comfy-core")
        assert properties["ver"] and properties["Node name for S&R"] == node["type"]
        offered = [model["name"] for model in properties.get("models", ())]
        assert set(graphs.files_named(node)) <= set(offered) or node["type"] in graphs.OWN_FILES
        files = {"checkpoint", "unet", "control_net", "exvideo"}
        takes_a_file = bool(files & set(node.get("widgets_values_named") or ()))
        assert bool(offered) == takes_a_file
    for model in (model for node in nodes for model in node["properties"].get("models", ())):
        assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith(model["name"])
        assert "/resolve/main/" in model["url"] and model["directory"] in (
            "checkpoints",
            "controlnet",
            *host.PARTS,
        )
    assert (graphs.TEMPLATES / f"{template}.jpg").stat().st_size < 60_000
