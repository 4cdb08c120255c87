"""The editor of the guidance curve, and presets: what a person drags, types and chooses is what is sent."""

import pytest

from support import page
from support.page import RENDERERS

NODE = "app.graph.nodes.find(node => node.type === 'StillmotionKSampler')"
CURVE = ".stillmotion.curve"


@pytest.fixture(params=RENDERERS)
def shown(request, browser, stocked_server):
    """A page with one SVD KSampler in view, its advanced inputs too."""
    opened = page.open_page(browser, stocked_server, renderer=request.param)
    page.wait_until_at_rest(opened)
    opened.evaluate(
        """() => {
            app.graph.clear()
            const node = LiteGraph.createNode("StillmotionKSampler")
            node.pos = [60, 60]
            app.graph.add(node)
            app.canvas.ds.offset = [200, 40]
            app.canvas.ds.scale = 1
            app.canvas.setDirty(true, true)
        }"""
    )
    opened.locator(CURVE).wait_for()
    page.wait_until_at_rest(opened)
    opened.evaluate("app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()")
    yield opened
    assert opened.errors == []
    opened.context.close()


def values(opened) -> dict:
    """The values of the node as a prompt has them."""
    sent = "app.graphToPrompt().then(({output}) => Object.values(output)[0].inputs)"
    return opened.evaluate(sent)


def point(opened, number: int):
    return opened.locator(f"{CURVE} [role=slider]").nth(number)


def drag(opened, number: int, right: float, down: float) -> None:
    box = point(opened, number).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    opened.mouse.move(x, y)
    opened.mouse.down()
    opened.mouse.move(x + right / 2, y + down / 2)
    opened.mouse.move(x + right, y + down)
    opened.mouse.up()
    page.wait_until_at_rest(opened)


def test_a_drag_makes_a_curve_and_ctrl_z_takes_it_back(shown):
    place = shown.evaluate(f"[...{NODE}.pos]")
    assert values(shown)["shape"] == "linear"
    drag(shown, 1, 0, 10)
    sent = values(shown)
    assert sent["shape"] == "list"
    first, last = sent["scales"].split(", ")
    assert first == "0:1.5" and 1.5 < float(last.removeprefix("1:")) < 3
    assert "curve" not in sent and "preset" not in sent
    assert shown.evaluate(f"[...{NODE}.pos]") == place
    shown.keyboard.press("Control+z")
    shown.wait_for_function(f"{NODE}?.widgets.find(w => w.name === 'shape').value === 'linear'")
    assert values(shown)["scales"] == ""


def test_keys_move_add_and_remove_points(shown):
    point(shown, 0).focus()
    shown.keyboard.press("ArrowUp")
    assert values(shown)["scales"] == "0:1.6, 1:3"
    shown.keyboard.press("Shift+ArrowDown")
    assert values(shown)["scales"] == "0:1.59, 1:3"
    shown.keyboard.press("Insert")
    assert values(shown)["scales"] == "0:1.59, 0.5:2.295, 1:3"
    shown.keyboard.press("ArrowRight")
    assert values(shown)["scales"] == "0:1.59, 0.51:2.295, 1:3"
    shown.get_by_role("button", name="Round the corners").click()
    assert values(shown)["scales"] == "0:1.59, 0.51:2.295, 1:3 smooth"
    point(shown, 1).focus()
    shown.keyboard.press("Delete")
    assert values(shown)["scales"] == "0:1.59, 1:3 smooth"
    assert point(shown, 1).get_attribute("aria-valuetext") == "3 at 1"


def test_buttons_act_on_the_point_that_had_the_focus_and_delete_keeps_the_node(shown):
    page.set_widgets(shown, {"shape": "list", "scales": "0:1, 0.25:2, 0.5:3, 1:1"})
    point(shown, 1).focus()
    shown.get_by_role("button", name="Remove the point").click()
    assert values(shown)["scales"] == "0:1, 0.5:3, 1:1"
    point(shown, 0).focus()
    shown.get_by_role("button", name="Add a point").click()
    assert values(shown)["scales"] == "0:1, 0.25:2, 0.5:3, 1:1"
    shown.evaluate(f"app.canvas.selectNode({NODE})")
    shown.get_by_role("button", name="Round the corners").focus()
    shown.keyboard.press("Delete")
    assert shown.evaluate("app.graph.nodes.length") == 1


def test_touch_moves_a_point(shown):
    box = point(shown, 1).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = shown.context.new_cdp_session(shown)
    for kind, down in (("touchStart", 0), ("touchMove", 10), ("touchMove", 20), ("touchEnd", None)):
        places = [] if down is None else [{"x": x, "y": y + down}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
    page.wait_until_at_rest(shown)
    assert values(shown)["shape"] == "list"
    first, last = values(shown)["scales"].split(", ")
    assert first == "0:1.5" and 1 < float(last.removeprefix("1:")) < 3


def test_typing_is_drawn_and_a_list_becomes_points(shown):
    page.set_widgets(shown, {"shape": "list", "scales": "1, 2, 3, 2"})
    assert shown.locator(f"{CURVE} [role=slider]").count() == 4
    shown.get_by_role("button", name="Turn the list into a curve").click()
    assert values(shown)["scales"] == "0:1, 0.6667:3, 1:2"
    page.set_widgets(shown, {"scales": "0:1, 2:3"})
    assert "scales has point 2 at 2" in shown.locator(f"{CURVE} .error").inner_text()


def test_a_preset_fills_in_values_and_is_custom_once_one_differs(shown):
    named = f"{NODE}?.widgets.find(w => w.name === 'preset')"
    assert shown.evaluate(f"{named}.value") == "quality"
    shown.evaluate(f"{{ const w = {named}; w.value = 'AnimateLCM (4 steps)'; w.callback(w.value) }}")
    sent = values(shown)
    chosen = [
        sent[name] for name in ("sampler", "schedule", "steps", "shape", "min_guidance", "max_guidance")
    ]
    assert chosen == ["lcm", "animate_lcm", 4, "linear", 1.0, 1.2]
    assert "preset" not in sent
    shown.evaluate(f"{{ const w = {named}; w.value = 'custom'; w.callback(w.value) }}")
    assert shown.evaluate(f"{named}.value") == "AnimateLCM (4 steps)"  # which the values still are
    page.set_widgets(shown, {"steps": 5})
    assert shown.evaluate(f"{named}.value") == "custom"
    extension = "app.extensions.find(each => each.name === 'Stillmotion.Actions')"
    menu = f"{extension}.getNodeMenuItems({NODE})[0].submenu.options"
    assert shown.evaluate(f"{menu}.map(item => item.content)[1]") == "fast (Align Your Steps)"
    shown.evaluate(f"{menu}[1].callback()")
    assert (values(shown)["schedule"], values(shown)["steps"]) == ("align_your_steps", 10)
    assert shown.evaluate("app.extensionManager.setting.get('Stillmotion.Preview.Moving')") is True
