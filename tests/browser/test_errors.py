"""A node of ours that fails says why in the node, in the subgraph around it, and at the edge of the page."""

import pytest

from support import page
from support.page import CANVAS, VUE

WRONG = {"motion": 30, "motion_amount": "much"}
RIGHT = {"motion": 127, "motion_amount": "by motion"}
SMALL = {"width": 64, "height": 64, "frames": 3, "steps": 1}
SENTENCE = (
    "motion is 30 and motion in words is 'much'; set motion back to 127, or motion in words to 'by motion'."
)
SAID = """() => [...document.querySelectorAll(".stillmotion.failed")].filter(each => each.isConnected)
    .map(each => each.textContent)"""
SET_INSIDE = """values => {
    const {widgets} = app.graph.nodes.find(node => node.subgraph).subgraph.nodes[0]
    for (const widget of widgets) if (widget.name in values) widget.value = values[widget.name]
}"""
HEIGHT = "app.graph.nodes.find(node => node.type === 'StillmotionAnimate').size[1]"


@pytest.fixture(params=[CANVAS, VUE])
def opened(request, browser, stocked_server):
    shown = page.open_page(browser, stocked_server, request.param)
    page.open_template(shown, "1 First video")
    page.set_widgets(shown, SMALL)
    yield shown
    shown.context.close()


def fail(shown, server) -> None:
    page.set_widgets(shown, WRONG)
    with shown.expect_response(lambda r: r.url.endswith("/prompt") and r.request.method == "POST") as queued:
        shown.get_by_test_id("queue-button").click()
    server.wait(queued.value.json()["prompt_id"])


def test_the_sentence_stands_in_the_node_until_the_next_run(opened, stocked_server):
    page.run(opened, stocked_server)  # with its preview, which stays
    page.wait_until_at_rest(opened)
    height = opened.evaluate(HEIGHT)
    fail(opened, stocked_server)
    opened.wait_for_function(f"({SAID})().length === 1")
    assert opened.evaluate(SAID) == [SENTENCE]
    assert SENTENCE in " ".join(opened.locator(".p-toast").all_inner_texts())
    box = opened.locator(".stillmotion.failed").bounding_box()
    assert box["width"] > 50 and box["height"] > 15
    content = opened.evaluate("app.graphToPrompt().then(both => JSON.stringify(both))")
    assert "failed" not in content

    page.set_widgets(opened, RIGHT)
    page.run(opened, stocked_server)
    opened.wait_for_function(f"({SAID})().length === 0")
    page.wait_until_at_rest(opened)
    assert opened.evaluate(HEIGHT) == pytest.approx(height, abs=2)


def test_it_stands_in_the_subgraph_around_the_node_too(opened, stocked_server):
    opened.evaluate(
        """() => app.graph.convertToSubgraph(
            new Set(app.graph.nodes.filter(node => node.type === 'StillmotionAnimate')))"""
    )
    page.wait_until_at_rest(opened)
    opened.evaluate(SET_INSIDE, WRONG)
    fail(opened, stocked_server)
    opened.wait_for_function(f"({SAID})().length >= 1")
    around = "app.graph.nodes.find(node => node.subgraph).widgets.some(widget => widget.name === 'failed')"
    assert opened.evaluate(around)
    opened.evaluate(SET_INSIDE, RIGHT)
    page.set_widgets(opened, RIGHT)
    page.run(opened, stocked_server)
    opened.wait_for_function(f"!({around})")


def test_the_failure_of_anothers_node_is_left_to_the_host(opened, stocked_server, base):
    (base / "input" / "no_picture.png").write_text("no picture")
    page.set_widgets(opened, {"image": "no_picture.png"})
    with opened.expect_response(lambda r: r.url.endswith("/prompt") and r.request.method == "POST") as queued:
        opened.get_by_test_id("queue-button").click()
    stocked_server.wait(queued.value.json()["prompt_id"])
    opened.get_by_test_id("error-overlay").wait_for()
    assert opened.evaluate(SAID) == []
