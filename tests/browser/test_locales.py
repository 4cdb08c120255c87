"""The page in Chinese, in both renderers: labels, tooltips and our own words, and no errors."""

import json
import re

import pytest

from support import graphs, page
from support.page import CANVAS, RENDERERS

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


@pytest.fixture(params=RENDERERS)
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


FEW = {"width": 64, "height": 64, "frames": 5, "steps": 1}
_SEED = iter(range(1, 1000))  # the host keeps what it has computed, and shows no preview of it again
MOTION = {
    "regions": [
        {"strokes": [{"points": [[0.4, 0.5]]}], "path": [{"x": 0.4, "y": 0.5}, {"x": 0.6, "y": 0.5}]},
        {"kind": "freeze", "polygon": [[0.1, 0.1], [0.2, 0.1], [0.2, 0.2]]},
    ],
    "drags": [{"path": [{"x": 0.5, "y": 0.8}, {"x": 0.6, "y": 0.8}]}],
}
NO_CURVES = ("x", "0:1", "0:1, 2:3", "0:1, 0:2", "0:1, x", "0:1, 1:1000")
TOO_MANY = {"regions": [{"polygon": [[0.1, 0.1]] * 4097}]}
ADD_OURS = """motion => {
    const decode = app.graph.nodes.find(node => node.type === "StillmotionDecode")
    const [compare, drawn] = ["StillmotionCompareClips", "StillmotionMotion"].map(type => {
        const node = LiteGraph.createNode(type)
        app.graph.add(node)
        return node
    })
    for (const name of ["a", "b"]) decode.connect(0, compare, name)
    const text = drawn.widgets.find(widget => widget.name === "motion")
    text.value = motion
    text.callback(motion)
}"""
SHOWN = """() => [...document.querySelectorAll(".stillmotion, .stillmotion *")].flatMap(element => {
    const own = [...element.childNodes].filter(node => node.nodeType === Node.TEXT_NODE)
    const {title, ariaLabel, ariaValueText, placeholder} = element
    return [...own.map(node => node.data), title, ariaLabel, ariaValueText, placeholder]
}).filter(Boolean)"""
OFFERED = """() => app.extensions.filter(each => each.name.startsWith("Stillmotion"))
    .flatMap(each => app.graph.nodes.flatMap(node => each.getNodeMenuItems?.(node) ?? []))
    .map(item => item.content)"""

CONVERTED = """() => new Promise(done => {
    app.graph.clear()
    app.graph.add(LiteGraph.createNode("SVD_img2vid_Conditioning"))
    app.extensionManager.toast.add = ({summary, detail}) => done([summary, ...detail.split("\\n")])
    void app.extensionManager.command.execute("Stillmotion.Convert")
})"""


@pytest.fixture(params=RENDERERS)
def marked(request, browser, stocked_server):
    """A page in Chinese whose words of ours stand in brackets, so that all others are seen."""

    def mark(route) -> None:
        languages = route.fetch().json()
        ours = languages["zh"]["stillmotion"]
        ours |= {key: f"⟦{text}⟧" for key, text in ours.items()}
        route.fulfill(json=languages)

    stocked_server.send("/settings", {"Comfy.Locale": "zh"})
    opened = page.open_page(browser, stocked_server, renderer=request.param)
    opened.context.route("**/i18n", mark)
    opened.reload()
    opened.wait_for_function("window.app?.graph && window.app.extensionManager")
    page.wait_until_at_rest(opened)
    yield opened
    stocked_server.send("/settings", {"Comfy.Locale": "en"})
    assert opened.errors == []
    opened.context.close()


def untranslated(texts: list[str]) -> list[str]:
    """Texts with a word outside of brackets: two letters or more; `scales` is the name of an input."""
    found = []
    for text in texts:
        left, depth = "", 0
        for letter in text.removeprefix("scales "):
            depth += (letter == "⟦") - (letter == "⟧")
            left += letter if depth == 0 else " "
        found += [text] if re.search(r"[^\W\d_]{2}", left) else []
    return found


def test_no_word_of_ours_is_left_untranslated(marked, stocked_server):
    marked.evaluate("workflow => app.loadGraphData(workflow)", graphs.read("3 Every knob"))
    page.wait_until_at_rest(marked)
    marked.evaluate(ADD_OURS, json.dumps(MOTION))
    page.set_widgets(marked, FEW | {"seed": next(_SEED), "noise_seed": next(_SEED)})
    page.run(marked, stocked_server)
    for kind in ("sheet canvas[aria-label]", "clip canvas[data-frame]", "curve .point", "thumbnail button"):
        marked.locator(f".stillmotion.{kind}").first.wait_for(state="attached")
    seen = marked.evaluate(SHOWN) + marked.evaluate(OFFERED)
    for text in NO_CURVES:
        page.set_widgets(marked, {"shape": "list", "scales": text})
        seen += marked.evaluate(SHOWN)
    marked.evaluate("document.querySelector('.stillmotion.thumbnail button').click()")
    entries = marked.locator("dialog.editor .entry button.grows")
    entries.first.wait_for()
    for number in range(3):
        entries.nth(number).click()
        seen += marked.evaluate(SHOWN)
    marked.keyboard.press("Escape")
    page.set_widgets(marked, {"motion": json.dumps(TOO_MANY)})
    wrong = marked.locator(".stillmotion.thumbnail .error").first
    wrong.filter(has_text="4097").wait_for(state="attached")
    seen.append(wrong.text_content())
    nothing, why = marked.evaluate(CONVERTED)
    seen += [nothing, re.sub(r"^.*\(\d+\) ", "", why)]  # without the node's own title
    assert len(set(seen)) > 60
    assert untranslated(seen) == []
