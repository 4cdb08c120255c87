"""The page in Chinese, in both renderers: labels, tooltips and our own words, and no errors."""

import pytest

from support import page
from support.page import CANVAS, VUE

NODES = ("StillmotionKSampler", "StillmotionMotion", "StillmotionImageToVideo")
BUILD = """(types) => {
    app.graph.clear()
    types.forEach((type, index) => {
        const node = LiteGraph.createNode(type)
        node.pos = [60 + 420 * index, 60]
        app.graph.add(node)
    })
    app.canvas.ds.offset = [120, 40]
    app.canvas.ds.scale = 0.9
    app.canvas.setDirty(true, true)
}"""
LABELS = """(type) => {
    const node = app.graph.nodes.find((node) => node.type === type)
    const all = [...node.inputs, ...node.widgets]
    const labels = all.map((each) => [each.name, each.label ?? each.localized_name])
    return Object.fromEntries(labels.filter(([, label]) => label))
}"""


@pytest.fixture(params=[CANVAS, VUE])
def chinese(request, browser, stocked_server):
    """A page in Chinese with some of our nodes; the server's setting is put back."""
    stocked_server.send("/settings", {"Comfy.Locale": "zh"})
    opened = page.open_page(browser, stocked_server, renderer=request.param)
    page.wait_until_at_rest(opened)
    opened.evaluate(BUILD, list(NODES))
    page.wait_until_at_rest(opened)
    opened.renderer = request.param
    yield opened
    stocked_server.send("/settings", {"Comfy.Locale": "en"})
    assert opened.errors == []
    opened.context.close()


def test_labels_and_words_are_chinese(chinese):
    labels = chinese.evaluate(LABELS, "StillmotionKSampler")
    assert (labels["min_guidance"], labels["shape"], labels["steps"]) == ("最小引导", "引导形状", "步数")
    assert labels["positive"] == "正面条件"
    assert chinese.evaluate(LABELS, "StillmotionImageToVideo")["noise_aug"] == "图像噪声"
    chinese.get_by_role("button", name="编辑运动").first.wait_for()
    assert (
        chinese.locator(".stillmotion.curve [role=group]").first.get_attribute("aria-label")
        == "随帧变化的引导"
    )


def test_the_values_of_a_prompt_keep_their_names(chinese):
    sent = chinese.evaluate("app.graphToPrompt().then(({output}) => Object.values(output)[0].inputs)")
    assert {"rho", "shape", "steps"} <= sent.keys()


def test_labels_are_seen_in_nodes_of_the_page(chinese):
    if chinese.renderer == CANVAS:
        pytest.skip("a canvas has no elements to read; its labels are those of the first test")
    assert chinese.get_by_text("引导形状", exact=True).first.is_visible()
