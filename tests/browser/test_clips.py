"""A clip of the command line's, dropped on the page: its node's menu builds the graph that makes it."""

import base64

import numpy as np
import pytest

from stillmotion.headless.files.videos import write_video
from support import page
from support.page import CANVAS, RENDERERS

SETTINGS = {
    "checkpoint": "elsewhere/svd.safetensors",
    "image": "rocket.jpg",
    "width": 64,
    "height": 128,
    "num_frames": 4,
    "fps": 7.0,
    "seed": 11,
    "steps": 2,
    "sampler": "heun",
    "schedule": "karras",
    "guidance": "0:1, 1:2",
    "feature_cache": 2,
    "stillmotion": "0.1.0",
}
DROP = """([name, kind, content]) => {
    const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0))
    const dataTransfer = new DataTransfer()
    dataTransfer.items.add(new File([bytes], name, {type: kind}))
    const options = {dataTransfer, bubbles: true, cancelable: true, clientX: 500, clientY: 300}
    document.querySelector("#graph-canvas").dispatchEvent(new DragEvent("drop", options))
}"""
CAPTURE = "app.extensionManager.workflow.activeWorkflow.changeTracker.captureCanvasState()"
MENU = """app.extensions.find(each => each.name === "Stillmotion.Clips")
    .getNodeMenuItems(app.graph.nodes.find(node => node.type.startsWith("Load")))"""


def drop(shown, path, kind: str) -> None:
    shown.evaluate("app.graph.clear()")
    shown.evaluate(DROP, [path.name, kind, base64.b64encode(path.read_bytes()).decode()])


def test_of_a_large_clip_the_page_reads_the_ends(browser, stocked_server, tmp_path):
    clip = tmp_path / "large.mp4"
    write_video(clip, np.zeros((4, 64, 64, 3), np.uint8), 7, metadata=SETTINGS)
    padding = 12 * 2**20
    box = padding.to_bytes(4, "big") + b"free"
    clip.write_bytes(box.ljust(padding, b"\0") + clip.read_bytes())
    shown = page.open_page(browser, stocked_server, CANVAS)
    page.wait_until_at_rest(shown)
    read = []
    shown.on("response", lambda answer: "large" in answer.url and read.append(answer))
    drop(shown, clip, "video/mp4")
    shown.wait_for_function(f"{MENU}.length === 1")
    ours = [answer for answer in read if answer.request.resource_type == "fetch"]
    assert sum(int(answer.headers["content-length"]) for answer in ours) <= 2**22
    shown.evaluate("app.loadGraphData(app.graph.serialize())")  # as each step of undo does
    shown.wait_for_function(f"{MENU}.length === 1")
    page.wait_until_at_rest(shown)
    assert len(ours) == len([answer for answer in read if answer.request.resource_type == "fetch"])
    assert shown.get_by_role("alert").filter(has_text="A clip of Stillmotion").count() == 1
    shown.context.close()


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize(("ending", "kind"), [("mp4", "video/mp4"), ("webp", "image/webp")])
def test_a_dropped_clip_has_its_graph_in_the_menu(browser, stocked_server, tmp_path, renderer, ending, kind):
    clip = tmp_path / f"clip_{renderer}.{ending}"
    write_video(clip, np.zeros((4, 64, 64, 3), np.uint8), 7, metadata=SETTINGS)
    shown = page.open_page(browser, stocked_server, renderer)
    page.wait_until_at_rest(shown)
    drop(shown, clip, kind)
    shown.wait_for_function(f"{MENU}.length === 1")
    shown.evaluate(CAPTURE)  # as the click that opens the menu does
    shown.evaluate(f"{MENU}[0].callback()")
    page.wait_until_at_rest(shown)
    assert "feature_cache" in " ".join(shown.get_by_role("alert").all_inner_texts())
    sent = {
        node["class_type"]: node["inputs"]
        for node in shown.evaluate("app.graphToPrompt()")["output"].values()
    }
    sampled = sent["StillmotionKSampler"]
    names = ("seed", "steps", "sampler", "schedule", "shape", "scales")
    assert [sampled[name] for name in names] == [11, 2, "stillmotion heun", "karras", "list", "0:1, 1:2"]
    prepared = sent["StillmotionImageToVideo"]
    assert [prepared[name] for name in ("width", "height", "frames", "fps")] == [64, 128, 4, 7]
    assert sent["StillmotionLoadCheckpoint"]["checkpoint"] == "svd.safetensors"
    shown.evaluate("app.canvas.canvas.focus()")
    shown.keyboard.press("Control+z")
    shown.wait_for_function(f"app.graph.nodes.length === 1 && {MENU}.length === 1")
    shown.evaluate(f"{MENU}[0].callback()")
    page.run(shown, stocked_server)
    # After an undo Load Video asks for its file before it has the name.
    assert [error for error in shown.errors if "filename=undefined" not in error] == []
    shown.context.close()
