"""The moving preview in the real page, in both renderers: in a node, in a subgraph, after another tab."""

import os
from pathlib import Path

import pytest

from support import page
from support.page import RENDERERS

TEMPLATE, SAMPLER = "3 Every knob", "StillmotionKSampler"
FEW = {"width": 64, "height": 64, "frames": 5, "steps": 2}
SHOWN = """() => [...document.querySelectorAll(".stillmotion.sheet canvas")].map(c => c.dataset.frame)"""
FRAMES_SEEN = """milliseconds => new Promise(done => {
    const seen = new Set(), end = performance.now() + milliseconds
    const look = () => {
        const canvas = document.querySelector(".stillmotion.sheet canvas")
        if (canvas) seen.add(canvas.toDataURL())
        performance.now() < end ? requestAnimationFrame(look) : done(seen.size)
    }
    look()
})"""
COUNT_STILLS = """() => import("/scripts/api.js").then(({api}) => {
    window.stills = 0  // pictures that reach who listens later than our script, as core does
    api.addEventListener("b_preview_with_metadata", () => window.stills++)
})"""


@pytest.fixture(params=RENDERERS)
def opened(request, browser, stocked_server):
    """A template of ours in the page, set to a small clip."""
    shown = page.open_page(browser, stocked_server, request.param)
    page.open_template(shown, TEMPLATE)
    page.set_widgets(shown, FEW)
    yield shown
    assert shown.errors == []
    shown.context.close()


_SEED = iter(range(1, 1000))


def run_anew(shown, server) -> None:
    """Runs with another seed, since the host keeps what it has computed."""
    page.set_widgets(shown, {"seed": next(_SEED), "noise_seed": next(_SEED)})
    page.run(shown, server)


def wait_for_players(shown, count: int) -> None:
    shown.wait_for_function(f"({SHOWN})().length === {count}")


def screenshot(shown, name: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("STILLMOTION_ARTEFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    shown.screenshot(path=folder / f"{name}.png")


def test_the_clip_moves_in_the_node_and_cores_still_is_absent(opened, stocked_server, tmp_path, request):
    width = opened.evaluate(f"app.graph.nodes.find(n => n.type === '{SAMPLER}').size[0]")
    opened.evaluate(COUNT_STILLS)
    run_anew(opened, stocked_server)
    wait_for_players(opened, 1)
    assert opened.evaluate(FRAMES_SEEN, 2000) >= 3
    assert opened.evaluate("window.stills") == 0
    assert opened.evaluate(f"app.graph.nodes.find(n => n.type === '{SAMPLER}').size[0]") == width
    screenshot(opened, f"preview {request.node.name} dark", tmp_path)
    # It belongs to the page alone: neither the workflow nor the prompt has it.
    content = opened.evaluate("app.graphToPrompt().then(both => JSON.stringify(both))")
    assert "moving_preview" not in content


def test_the_button_stops_the_clip_and_is_named(opened, stocked_server):
    run_anew(opened, stocked_server)
    wait_for_players(opened, 1)
    opened.evaluate("document.querySelector('.stillmotion.sheet button').click()")
    assert opened.get_by_role("button", name="Play").count() == 1
    assert opened.evaluate(FRAMES_SEEN, 800) == 1


def test_the_button_is_used_by_keys_alone(opened, stocked_server):
    run_anew(opened, stocked_server)
    wait_for_players(opened, 1)
    opened.evaluate(f"app.canvas.selectNode(app.graph.nodes.find(n => n.type === '{SAMPLER}'))")
    nodes = opened.evaluate("app.graph.nodes.length")
    button = opened.locator(".stillmotion.sheet button")
    assert page.tab_through(opened, button, 1) == ["Stop"]
    button.focus()
    for key in ("Delete", "Backspace", "Space"):
        opened.keyboard.press(key)
    assert opened.evaluate("app.graph.nodes.length") == nodes
    assert opened.evaluate(FRAMES_SEEN, 800) == 1
    assert button.get_attribute("aria-label") == "Play"
    picture = opened.locator(".stillmotion.sheet canvas")
    assert [picture.get_attribute(name) for name in ("role", "aria-label")] == ["img", "Preview, step 2 of 2"]
    opened.keyboard.press("Enter")
    assert opened.evaluate(FRAMES_SEEN, 2000) >= 3


def test_who_wants_no_motion_has_a_clip_that_stands(opened, stocked_server):
    opened.emulate_media(reduced_motion="reduce")
    run_anew(opened, stocked_server)
    wait_for_players(opened, 1)
    page.wait_until_at_rest(opened)
    assert opened.evaluate(FRAMES_SEEN, 800) == 1
    opened.get_by_role("button", name="Play").press("Enter")
    assert opened.evaluate(FRAMES_SEEN, 2000) >= 3


def test_in_a_subgraph_the_clip_moves_in_the_node_around_it(opened, stocked_server):
    opened.evaluate(
        f"""() => app.graph.convertToSubgraph(new Set(app.graph.nodes.filter(n => n.type === '{SAMPLER}')))"""
    )
    page.wait_until_at_rest(opened)
    opened.evaluate(COUNT_STILLS)
    run_anew(opened, stocked_server)  # the node around it has the seed
    opened.wait_for_function(f"({SHOWN})().length >= 1")
    around = "app.graph.nodes.find(n => n.subgraph).widgets.some(w => w.name === 'moving_preview')"
    assert opened.evaluate(around)
    assert opened.evaluate(FRAMES_SEEN, 2000) >= 3
    assert opened.evaluate("window.stills") == 0


def test_after_another_tab_the_next_run_moves_again(opened, stocked_server):
    run_anew(opened, stocked_server)
    wait_for_players(opened, 1)
    opened.evaluate("app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    opened.wait_for_function("app.graph.nodes.length === 0")
    opened.evaluate(
        """() => {
            const store = app.extensionManager.workflow
            return app.loadGraphData ? store.openWorkflows && app.extensionManager.command.execute(
                "Workspace.PreviousOpenedWorkflow") : null
        }"""
    )
    opened.wait_for_function("app.graph.nodes.length > 3")
    page.wait_until_at_rest(opened)
    run_anew(opened, stocked_server)
    wait_for_players(opened, 1)
    assert opened.evaluate(FRAMES_SEEN, 2000) >= 3


@pytest.mark.parametrize("setting", ["Comfy.Execution.PreviewMethod", "Stillmotion.Preview.Moving"])
def test_who_turns_previews_off_gets_none(opened, stocked_server, setting):
    off = "none" if setting.startswith("Comfy") else False
    stocked_server.send("/settings", {setting: off})
    try:
        opened.reload()
        opened.wait_for_function("window.app?.graph?.nodes.length > 3 && app.extensionManager")
        page.wait_until_at_rest(opened)
        page.set_widgets(opened, FEW)
        opened.evaluate(COUNT_STILLS)
        run_anew(opened, stocked_server)
        page.wait_until_at_rest(opened)
        assert opened.evaluate("window.stills") == 0
        assert opened.evaluate(f"({SHOWN})().length") == 0
    finally:
        stocked_server.send("/settings", {setting: "default" if off == "none" else True})
