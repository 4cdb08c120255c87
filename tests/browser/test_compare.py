"""SVD Compare Clips in the real page, in both renderers: plays, steps, compares, survives another tab."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stillmotion.headless.files.videos import write_video
from support import page
from support.page import RENDERERS

CLIP = "document.querySelector('.stillmotion.clip canvas')"
PIXELS = f"""() => {{
    const canvas = {CLIP}
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
    return [canvas.width, canvas.height, [...data]]
}}"""
BUILD = """async ([first, second, fps]) => {
    app.graph.clear()
    const add = (type, values, x) => {
        const node = LiteGraph.createNode(type)
        app.graph.add(node)
        node.pos = [x, 120]
        for (const widget of node.widgets ?? []) if (widget.name in values) widget.value = values[widget.name]
        return node
    }
    const a = add("LoadImage", {image: first}, 40), b = add("LoadImage", {image: second}, 360)
    const compare = add("StillmotionCompareClips", {fps}, 700)
    const batch = add("ImageBatch", {}, 40)
    batch.pos = [40, 560]
    a.connect(0, batch, 0)
    b.connect(0, batch, 1)
    batch.connect(0, compare, 0)
    b.connect(0, compare, 1)
}"""

OF_FILE = """file => {
    app.graph.clear()
    const types = ["LoadVideo", "GetVideoComponents", "StillmotionCompareClips"]
    const [load, parts, compare] = types.map((type, index) => {
        const node = LiteGraph.createNode(type)
        app.graph.add(node)
        node.pos = [40 + 340 * index, 120]
        return node
    })
    load.widgets.find(widget => widget.name === "file").value = file
    load.connect(0, parts, 0)
    parts.connect(0, compare, "a")
    parts.connect(2, compare, "fps")
}"""


def pixels(shown) -> np.ndarray:
    width, height, data = shown.evaluate(PIXELS)
    return np.array(data).reshape(height, width, 4)[..., :3].astype(int)


@pytest.fixture(params=RENDERERS)
def opened(request, browser, stocked_server, base):
    """A graph in the page whose node shows a: a dark frame and a light one, b: the light one; after a run."""
    rng = np.random.default_rng(0)
    dark, light = rng.integers(0, 60, (48, 80, 3)), rng.integers(90, 110, (48, 80, 3))
    for name, levels in (("dark", dark), ("light", light)):
        Image.fromarray(levels.astype(np.uint8)).save(base / "input" / f"{name}.png")
    shown = page.open_page(browser, stocked_server, request.param)
    page.wait_until_at_rest(shown)
    fps = 20 + 0.01 * next(_RUNS)  # so that the host runs the node anew
    shown.evaluate(BUILD, ["dark.png", "light.png", fps])
    page.run(shown, stocked_server)
    shown.wait_for_function(f"{CLIP}?.dataset.frame")
    shown.levels = dark, light
    yield shown
    assert shown.errors == []
    shown.context.close()


_RUNS = iter(range(1000))


def choose(shown, label: str, value: str) -> None:
    shown.evaluate(
        """([label, value]) => {
            const select = document.querySelector(`.stillmotion.clip [aria-label="${label}"]`)
            select.value = value
            select.dispatchEvent(new Event("change"))
        }""",
        [label, value],
    )


def press(shown, label: str) -> None:
    shown.evaluate(f"""document.querySelector('.stillmotion.clip [aria-label="{label}"]').click()""")


def control(shown, label: str):
    return shown.locator(f'.stillmotion.clip [aria-label="{label}"]')


def frame(shown) -> int:
    return shown.evaluate(f"Number({CLIP}.dataset.frame)")


@pytest.fixture
def alone(opened, stocked_server):
    """The player with clip a alone, of two frames, which stands at the first."""
    opened.evaluate("app.graph.nodes.find(n => n.type === 'StillmotionCompareClips').disconnectInput(1)")
    page.run(opened, stocked_server)
    opened.wait_for_function("document.querySelector('.stillmotion.clip .place').textContent.endsWith('/ 2')")
    press(opened, "Stop")
    while frame(opened):
        press(opened, "Frame on")
    return opened


def screenshot(shown, name: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("STILLMOTION_ARTEFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    shown.screenshot(path=folder / f"{name}.png")


def test_each_view_shows_what_it_says(opened, tmp_path, request):
    """Frame 1 of a is the dark picture, of b there is the light one alone, so both have one frame."""
    dark, light = opened.levels
    press(opened, "Stop")
    screenshot(opened, f"compare {request.node.name}", tmp_path)
    choose(opened, "View", "A")
    assert np.array_equal(pixels(opened), dark)
    choose(opened, "View", "B")
    assert np.array_equal(pixels(opened), light)
    choose(opened, "View", "side by side")
    assert np.array_equal(pixels(opened), np.concatenate([dark, light], axis=1))
    choose(opened, "View", "difference ×4")
    assert np.abs(pixels(opened) - np.minimum(255, 4 * np.abs(dark - light))).max() <= 4
    choose(opened, "View", "wipe")
    wiped = pixels(opened)
    assert np.array_equal(wiped[:, :38], dark[:, :38])
    assert np.array_equal(wiped[:, 42:], light[:, 42:])


def test_a_clip_alone_plays_and_steps(alone):
    dark, light = alone.levels
    press(alone, "Play")
    alone.wait_for_function(f"{CLIP}.dataset.frame === '1'")
    alone.wait_for_function(f"{CLIP}.dataset.frame === '0'")
    press(alone, "Stop")
    seen = []
    for _ in range(3):
        press(alone, "Frame on")
        seen.append((frame(alone), pixels(alone)))
    assert [number for number, _ in seen] in ([0, 1, 0], [1, 0, 1])
    assert all(np.array_equal(levels, (dark, light)[number]) for number, levels in seen)


def test_save_frame_gives_the_frame_as_it_was_made(opened, tmp_path):
    press(opened, "Stop")
    with opened.expect_download() as download:
        press(opened, "Save frame")
    download.value.save_as(tmp_path / "frame.png")
    assert download.value.suggested_filename == "frame_A_1.png"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "frame.png").convert("RGB")), opened.levels[0])


def test_tab_goes_through_all_controls_and_delete_keeps_the_node(opened):
    opened.evaluate("app.canvas.selectNode(app.graph.nodes.find(n => n.type === 'StillmotionCompareClips'))")
    first = control(opened, "Frame back")
    assert page.tab_through(opened, first, 9) == [
        *("Frame back", "Stop", "Frame on", "Frame"),
        *("View", "Wipe", "Order", "Speed", "Save frame"),
    ]
    for name in ("Frame back", "Frame", "View", "Save frame"):
        control(opened, name).focus()
        for key in ("Delete", "Backspace"):
            opened.keyboard.press(key)
    assert opened.evaluate("app.graph.nodes.length") == 4
    assert opened.locator(".stillmotion.clip canvas").get_attribute("role") == "img"
    assert control(opened, "Wipe").get_attribute("aria-valuetext") == "50 %"
    assert control(opened, "Wipe").evaluate("slider => slider.offsetWidth") >= 60  # or nobody can grab it
    control(opened, "Wipe").focus()
    opened.keyboard.press("ArrowRight")
    assert control(opened, "Wipe").get_attribute("aria-valuetext") == "51 %"
    control(opened, "View").focus()
    opened.keyboard.press("s")  # as in every select: the option that begins so
    assert np.array_equal(pixels(opened), np.concatenate(opened.levels, axis=1))
    assert opened.evaluate(f"{CLIP}.ariaLabel") == "Frame 1 of 1, view side by side"


def test_keys_play_stop_and_step(alone):
    spoken = lambda: control(alone, "Frame").get_attribute("aria-valuetext")  # noqa: E731
    assert spoken() == "Frame 1 of 2, view A"
    control(alone, "Frame").focus()
    alone.keyboard.press("ArrowRight")
    assert (frame(alone), spoken()) == (1, "Frame 2 of 2, view A")
    alone.keyboard.press("ArrowLeft")
    assert frame(alone) == 0
    control(alone, "Frame back").focus()
    alone.keyboard.press("Enter")
    assert frame(alone) == 1
    control(alone, "Play").focus()
    alone.keyboard.press("Space")
    alone.wait_for_function(f"{CLIP}.dataset.frame === '0'")
    alone.wait_for_function(f"{CLIP}.dataset.frame === '1'")
    alone.keyboard.press("Space")
    assert control(alone, "Play").count() == 1


def test_it_goes_on_from_the_frame_where_it_stopped(alone):
    """At a quarter of the speed a frame stays for a fifth of a second; the page draws well before that."""
    choose(alone, "Speed", "0.25")
    press(alone, "Frame on")
    press(alone, "Play")
    drawn = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    assert alone.evaluate(f"{drawn}.then(() => {CLIP}.dataset.frame)") == "1"


def test_who_wants_no_motion_has_a_clip_that_stands(opened, stocked_server):
    opened.emulate_media(reduced_motion="reduce")
    opened.evaluate("app.graph.nodes.find(n => n.type === 'StillmotionCompareClips').disconnectInput(1)")
    page.run(opened, stocked_server)
    opened.wait_for_function("document.querySelector('.stillmotion.clip .place').textContent === '1 / 2'")
    opened.wait_for_timeout(300)  # six frames of the clip
    assert frame(opened) == 0
    press(opened, "Play")
    opened.wait_for_function(f"{CLIP}.dataset.frame === '1'")


def test_a_saved_video_is_stepped_frame_by_frame(opened, stocked_server, base):
    """Core's nodes read the file, whatever its codec, and give its frames and their number a second."""
    levels = (40, 90, 140, 190)
    frames = np.stack([np.full((64, 64, 3), level, np.uint8) for level in levels])
    file = f"saved_{next(_RUNS)}.mp4"
    write_video(base / "input" / file, frames, 7)
    opened.evaluate(OF_FILE, file)
    page.run(opened, stocked_server)
    opened.wait_for_function(
        "document.querySelector('.stillmotion.clip .place')?.textContent.endsWith('/ 4')"
    )
    press(opened, "Stop")
    while frame(opened):
        press(opened, "Frame on")
    for level in levels:
        assert abs(pixels(opened) - level).max() <= 3
        press(opened, "Frame on")


def test_the_player_comes_back_after_another_tab(opened):
    opened.evaluate("app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    opened.wait_for_function("app.graph.nodes.length === 0")
    opened.evaluate("app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    opened.wait_for_function("app.graph.nodes.length > 3")
    opened.wait_for_function(f"{CLIP}?.dataset.frame")


def test_light_theme(opened, tmp_path, request):
    opened.evaluate("app.extensionManager.setting.set('Comfy.ColorPalette', 'light')")
    page.wait_until_at_rest(opened)
    screenshot(opened, f"compare light {request.node.name}", tmp_path)
    opened.evaluate("app.extensionManager.setting.set('Comfy.ColorPalette', 'dark')")
    page.wait_until_at_rest(opened)
