"""The motion editor: what a person draws is in the text, is there again after loading, and is taken back."""

import json

import pytest

from support import page
from support.page import RENDERERS

TEXT = (
    "app.graph.nodes.find(n => n.type === 'StillmotionMotion')?.widgets.find(w => w.name === 'motion').value"
)
STAGE = "dialog.editor .stage"


@pytest.fixture(params=RENDERERS)
def shown(request, browser, stocked_server):
    """A page with SVD Motion behind a loaded picture."""
    opened = page.open_page(browser, stocked_server, renderer=request.param)
    page.wait_until_at_rest(opened)
    opened.evaluate(
        """() => {
            app.graph.clear()
            const [load, motion] = ["LoadImage", "StillmotionMotion"].map(name => LiteGraph.createNode(name))
            load.pos = [60, 60]
            motion.pos = [460, 60]
            app.graph.add(load)
            app.graph.add(motion)
            load.widgets.find(w => w.name === "image").value = "rocket.jpg"
            load.connect(0, motion, "image")
            app.canvas.ds.offset = [100, 40]
            app.canvas.ds.scale = 1
            app.canvas.setDirty(true, true)
        }"""
    )
    opened.get_by_role("button", name="Edit motion").wait_for()
    page.wait_until_at_rest(opened)
    opened.evaluate("app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()")
    yield opened
    assert opened.errors == []
    opened.context.close()


def motion(opened) -> dict:
    return json.loads(opened.evaluate(TEXT))


def edit(opened) -> None:
    opened.get_by_role("button", name="Edit motion").click()
    opened.locator(STAGE).wait_for()
    page.wait_until_at_rest(opened)


def tool(opened, name: str) -> None:
    opened.locator(f'dialog.editor [data-tool="{name}"]').click()


def place(opened, x: float, y: float) -> tuple[float, float]:
    """A place on the page from fractions of the picture, 1024×576, which fills 92 % of the stage."""
    box = opened.locator(STAGE).bounding_box()
    scale = 0.92 * min(box["width"] / 1024, box["height"] / 576)
    left = box["x"] + (box["width"] - 1024 * scale) / 2
    top = box["y"] + (box["height"] - 576 * scale) / 2
    return left + x * 1024 * scale, top + y * 576 * scale


def draw(opened, *points: tuple[float, float]) -> None:
    opened.mouse.move(*place(opened, *points[0]))
    opened.mouse.down()
    for point in points[1:]:
        opened.mouse.move(*place(opened, *point), steps=4)
    opened.mouse.up()


def close(opened) -> None:
    opened.get_by_role("button", name="Done").click()
    opened.locator("dialog.editor").wait_for(state="detached")


def test_strokes_paths_and_the_camera_are_saved_and_reloaded(shown):
    assert motion(shown) == {}
    edit(shown)
    draw(shown, (0.3, 0.5), (0.4, 0.5))
    tool(shown, "path")
    draw(shown, (0.35, 0.5), (0.7, 0.3))
    draw(shown, (0.1, 0.1), (0.2, 0.1))
    tool(shown, "freeze")
    draw(shown, (0.1, 0.9), (0.9, 0.9))
    tool(shown, "camera")
    draw(shown, (0.5, 0.5), (0.6, 0.5))
    close(shown)
    drawn = motion(shown)
    assert (drawn["version"], drawn["aspect"]) == (1, 1.7778)
    moved, frozen = drawn["regions"]
    assert (moved["kind"], frozen["kind"]) == ("move", "freeze")
    assert moved["strokes"][0]["points"][0] == pytest.approx([0.3, 0.5], abs=0.004)
    end = moved["path"][-1]
    assert (end["x"], end["y"], end["time"]) == pytest.approx((0.7, 0.3, 1), abs=0.004)
    assert drawn["drags"][0]["path"][0]["x"] == pytest.approx(0.1, abs=0.004)
    assert drawn["camera"]["pan"] == pytest.approx([0.1, 0], abs=0.004)
    # Saved, loaded, taken back.
    shown.evaluate("app.loadGraphData(app.graph.serialize())")
    page.wait_until_at_rest(shown)
    assert motion(shown) == drawn
    sent = (
        "app.graphToPrompt().then(({output}) => Object.values(output).find(n => 'motion' in n.inputs).inputs)"
    )
    inputs = shown.evaluate(sent)
    assert json.loads(inputs["motion"]) == drawn
    assert not {"motion_picture"} & set(inputs)


def test_closing_is_one_step_that_ctrl_z_takes_back(shown):
    edit(shown)
    draw(shown, (0.3, 0.5), (0.4, 0.5))
    draw(shown, (0.3, 0.6), (0.4, 0.6))
    close(shown)
    assert len(motion(shown)["regions"][0]["strokes"]) == 2
    shown.locator("#graph-canvas").focus()
    shown.keyboard.press("Control+z")
    shown.wait_for_function(f"({TEXT}) === '{{}}'")


def test_keys_in_the_editor_stay_there(shown):
    edit(shown)
    draw(shown, (0.3, 0.5), (0.4, 0.5))
    draw(shown, (0.3, 0.6), (0.4, 0.6))
    shown.keyboard.press("Control+z")
    shown.keyboard.press("Control+a")
    shown.keyboard.press("ArrowRight")
    close(shown)
    assert shown.evaluate("app.graph.nodes.length") == 2
    (region,) = motion(shown)["regions"]
    assert len(region["strokes"]) == 1
    assert region["strokes"][0]["points"][0][0] == pytest.approx(0.305, abs=0.004)
    edit(shown)
    shown.get_by_role("button", name="region 1: moves").click()
    shown.locator(STAGE).focus()
    shown.keyboard.press("Delete")
    shown.keyboard.press("Escape")
    shown.locator("dialog.editor").wait_for(state="detached")
    assert motion(shown)["regions"] == []
    assert shown.evaluate("app.graph.nodes.length") == 2


def test_while_nothing_is_selected_the_editor_says_what_its_tool_does(shown):
    edit(shown)
    said = shown.locator('dialog.editor [role="status"]')
    assert said.inner_text() == "Paint what moves"
    tool(shown, "path")
    assert said.inner_text() == "Draw the path of a region, or drag what lies elsewhere"
    close(shown)


def test_a_polygon_is_clicked_and_zoom_and_play_change_nothing(shown):
    edit(shown)
    tool(shown, "polygon")
    for corner in ((0.2, 0.2), (0.4, 0.2), (0.4, 0.5)):
        shown.mouse.click(*place(shown, *corner))
    shown.keyboard.press("Enter")
    tool(shown, "path")
    draw(shown, (0.35, 0.25), (0.6, 0.25))
    shown.get_by_role("button", name="Play").click()
    shown.mouse.wheel(0, -300)
    shown.get_by_role("button", name="Whole picture").click()
    shown.get_by_label("to x").fill("0.75")
    shown.keyboard.press("Enter")
    close(shown)
    (region,) = motion(shown)["regions"]
    assert region["polygon"][1] == pytest.approx([0.4, 0.2], abs=0.004)
    assert region["path"][-1]["x"] == 0.75


def test_the_picture_and_the_tools_have_names(shown):
    edit(shown)
    assert shown.get_by_role("application", name="Motion").get_attribute("class") == "stage"
    names = shown.locator("dialog.editor :is(button, input, select)").evaluate_all(
        "elements => elements.map(element => element.ariaLabel || element.labels?.[0]?.textContent)"
    )
    assert len(names) > 14 and all(names)


def test_a_part_that_is_dragged_back_stays_where_it_was(shown):
    drawn = f"document.querySelector('{STAGE}').toDataURL()"
    edit(shown)
    draw(shown, (0.3, 0.5), (0.4, 0.5))
    tool(shown, "select")
    shown.mouse.click(*place(shown, 0.35, 0.5))
    before = shown.evaluate(drawn)
    draw(shown, (0.35, 0.5), (0.6, 0.3), (0.35, 0.5))
    assert shown.evaluate(drawn) == before
    close(shown)
    assert motion(shown)["regions"][0]["strokes"][0]["points"][0] == pytest.approx([0.3, 0.5], abs=0.004)


def test_touch_paints(shown):
    edit(shown)
    session = shown.context.new_cdp_session(shown)
    for kind, x in (("touchStart", 0.3), ("touchMove", 0.35), ("touchMove", 0.4), ("touchEnd", None)):
        places = [] if x is None else [dict(zip("xy", place(shown, x, 0.5), strict=True))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
    close(shown)
    assert motion(shown)["regions"][0]["strokes"][0]["points"][0] == pytest.approx([0.3, 0.5], abs=0.004)
