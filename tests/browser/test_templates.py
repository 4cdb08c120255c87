"""The example workflows in the real page: opened from its template browser, run with its Run button."""

import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest

from support import host

ROOT = Path(__file__).parent.parent.parent
TEMPLATES = sorted(path.stem for path in (ROOT / "example_workflows").glob("*.json"))
CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
# Without these Chromium looks for its maker's servers, which a closed network answers with many errors.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECONDS = 1000  # Playwright counts in milliseconds

WIDTH, HEIGHT, SQUARE, FRAMES, STEPS = 128, 64, 64, 4, 2

EXPECTED_ERRORS = {
    # The page asks for files of the user's that a new user doesn't have.
    "user.css": "status of 404",
    "/api/userdata": "status of 404",
    # The page's own settings store reads the graph a moment too early, in an empty ComfyUI too.
    "/assets/settingStore-": "ComfyApp graph accessed before initialization",
}


def missing(what: str) -> None:
    """Skips the test, or fails it where STILLMOTION_REQUIRE_HOST is 1."""
    (pytest.fail if os.environ.get("STILLMOTION_REQUIRE_HOST") == "1" else pytest.skip)(what)


@pytest.fixture(scope="session")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("no Playwright found: pip install playwright")
    chromium = os.environ.get("CHROMIUM") or next((path for path in CHROMIUM if Path(path).exists()), None)
    if chromium is None:
        missing("no Chromium found: apt-get install chromium, or set CHROMIUM")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def stocked_server(browser, server, base):
    """The ComfyUI with every file that a template names, the checkpoints being tiny ones."""
    (base / "input" / "example.png").write_bytes((base / "input" / "rocket.jpg").read_bytes())
    folder = base / "models" / "checkpoints"
    for name in {model["name"] for template in TEMPLATES for model in models_of(read(template))}:
        kind = "sv3d_p" if name.startswith("sv3d") else "svd"
        (folder / name).hardlink_to(folder / f"tiny_{kind}.safetensors")
    server.send("/settings", {"Comfy.TutorialCompleted": True})
    return server


@pytest.fixture
def page(browser, stocked_server):
    """The page, without the network, and the errors that it logs."""
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    context.set_default_timeout(30 * SECONDS)
    page = context.new_page()
    page.route(
        lambda url: not url.startswith(stocked_server.url),
        lambda route: route.fulfill(status=200, content_type="application/json", body="[]"),
    )
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and note_error(page.errors, message))
    page.pending = set()
    page.on("request", lambda request: page.pending.add(request))
    for over in ("requestfinished", "requestfailed"):
        page.on(over, lambda request: page.pending.discard(request))
    page.goto(stocked_server.url)
    page.wait_for_function("window.app?.graph && window.app.extensionManager", timeout=60 * SECONDS)
    yield page
    context.close()


def note_error(errors: list[str], message) -> None:
    url = message.location.get("url", "")
    if not any(part in url and text in message.text for part, text in EXPECTED_ERRORS.items()):
        errors.append(f"{message.text} ({url})")


def wait_until_at_rest(page) -> None:
    """Until the page has all answers that it asked for, has worked on them and has drawn the outcome."""
    idle = "new Promise(done => requestIdleCallback(done))"
    drawn = "new Promise(done => requestAnimationFrame(done))"
    quiet = 0
    while quiet < 3:  # what it does then may make it ask again
        for event in (idle, drawn, idle):
            page.evaluate(event)
        quiet = 0 if page.pending else quiet + 1


def read(template: str) -> dict:
    return json.loads((ROOT / "example_workflows" / f"{template}.json").read_text(encoding="utf-8"))


def models_of(workflow: dict) -> list[dict]:
    return [model for node in workflow["nodes"] for model in node["properties"].get("models", ())]


def open_template(page, template: str) -> None:
    """The way of a user: Templates, the pack's name, the card."""
    page.get_by_role("button", name="Templates").first.click()
    page.get_by_text(host.PACK_NAME, exact=True).click()
    page.get_by_text(template, exact=True).click()
    count = len(read(template)["nodes"])
    page.wait_for_function(f"window.app.graph.nodes.length === {count}")
    page.get_by_role("dialog").wait_for(state="hidden")
    wait_until_at_rest(page)


def shrink(page, template: str) -> None:
    """Sets the widgets to values for tiny networks."""
    width, height = (SQUARE, SQUARE) if template.startswith("SV3D") else (WIDTH, HEIGHT)
    values = {"width": width, "height": height, "frames": FRAMES, "length": FRAMES, "steps": STEPS}
    page.evaluate(
        """([values, frames]) => {
            for (const node of window.app.graph.nodes) for (const widget of node.widgets ?? []) {
                let value = values[widget.name]
                if (widget.name === "batch_index" && widget.value > 0) value = frames
                if (value === undefined) continue
                widget.value = value
                widget.callback?.(value)
            }
        }""",
        [values, FRAMES],
    )


def screenshot(page, template: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("STILLMOTION_ARTEFACTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{template}.png")


def test_the_host_offers_every_template_with_its_picture(page, stocked_server):
    assert sorted(stocked_server.get("/api/workflow_templates")[host.PACK_NAME]) == TEMPLATES
    for template in TEMPLATES:
        for ending, kind in (("json", "application/json"), ("jpg", "image/jpeg")):
            path = f"/api/workflow_templates/{quote(host.PACK_NAME)}/{quote(template)}.{ending}"
            answer = page.request.get(stocked_server.url + path)
            assert (answer.status, answer.headers["content-type"]) == (200, kind), path


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_runs_from_the_page(template, page, stocked_server, tmp_path):
    workflow = read(template)
    open_template(page, template)
    # The page shows this message where a node, a model or a picture is missing.
    assert page.get_by_test_id("error-overlay").all_inner_texts() == []
    unknown = "app.graph.nodes.filter(n => !LiteGraph.registered_node_types[n.type]).map(n => n.type)"
    assert page.evaluate(unknown) == []
    assert page.get_by_role("dialog").count() == 0

    shrink(page, template)
    with page.expect_response(lambda r: r.url.endswith("/prompt") and r.request.method == "POST") as queued:
        page.get_by_test_id("queue-button").click()
    answer = queued.value.json()
    assert answer.get("prompt_id") and not answer["node_errors"], answer
    entry = stocked_server.wait(answer["prompt_id"])
    assert host.succeeded(entry), host.error_of(entry)

    saving = [node for node in workflow["nodes"] if node["type"] == "SaveVideo"]
    assert len(entry["outputs"]) == len(saving)
    playable = "[...document.querySelectorAll('video')].filter(video => video.readyState >= 2).length"
    page.wait_for_function(f"{playable} >= {len(saving)}")
    wait_until_at_rest(page)
    screenshot(page, template, tmp_path)
    assert page.errors == []


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_says_what_it_needs(template):
    workflow = read(template)
    for node in workflow["nodes"]:
        if node["type"] == "MarkdownNote":
            continue
        ours = node["type"].startswith("Stillmotion")
        properties = node["properties"]
        assert properties["cnr_id"] == ("stillmotion" if ours else "comfy-core")
        assert properties["ver"] and properties["Node name for S&R"] == node["type"]
        named = [value for value in node.get("widgets_values", ()) if str(value).endswith(".safetensors")]
        assert [model["name"] for model in properties.get("models", ())] == named
    for model in models_of(workflow):
        assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith(model["name"])
        assert model["directory"] == "checkpoints"
    assert (ROOT / "example_workflows" / f"{template}.jpg").stat().st_size < 60_000
