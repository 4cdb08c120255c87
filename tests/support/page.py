"""The page of a real ComfyUI in Chromium: a user's actions, and the positions of nodes."""

from typing import NamedTuple

import pytest

from support import host
from support.graphs import read

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

CANVAS, VUE = "canvas", "vue"
"""Renderers of the page: nodes on a canvas, and nodes as elements of the page."""

RENDERERS = (CANVAS, pytest.param(VUE, marks=pytest.mark.long))
"""Both, as values of a parameter; VUE, which the host calls experimental, takes half an hour of two cores."""

EXPECTED_ERRORS = {
    # The page requests user files that a new user doesn't have.
    "user.css": "status of 404",
    "/api/userdata": "status of 404",
    # The page's own settings store reads the graph a moment too early, in an empty ComfyUI too.
    "/assets/settingStore-": "ComfyApp graph accessed before initialization",
}


class Rectangle(NamedTuple):
    """Rectangle on the graph: x to the right, y down."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    def meets(self, other: "Rectangle", gap: float = 0) -> bool:
        """Whether two rectangles are closer than the gap."""
        beside = self.x >= other.right + gap or other.x >= self.right + gap
        return not (beside or self.y >= other.bottom + gap or other.y >= self.bottom + gap)

    def holds(self, other: "Rectangle") -> bool:
        inside = self.x <= other.x and other.right <= self.right
        return inside and self.y <= other.y and other.bottom <= self.bottom


def open_page(browser, server, renderer: str = CANVAS, new_user: bool = False):
    """Opens the server's page in a new browser without network; appends the page's log to errors."""
    settings = {
        "Comfy.TutorialCompleted": not new_user,
        "Comfy.VueNodes.Enabled": renderer == VUE,
        "Comfy.RightSidePanel.IsOpen": False,  # the host remembers that the last page had it open
    }
    server.send("/settings", settings)
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    context.set_default_timeout(30 * SECONDS)
    context.route(
        lambda url: not url.startswith(server.url),
        lambda route: route.fulfill(status=200, content_type="application/json", body="[]"),
    )
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and note_error(page.errors, message))
    page.pending = set()
    page.on("request", lambda request: page.pending.add(request))
    for over in ("requestfinished", "requestfailed"):
        page.on(over, lambda request: page.pending.discard(request))
    page.goto(server.url)
    page.wait_for_function("window.app?.graph && window.app.extensionManager", timeout=60 * SECONDS)
    return page


def note_error(errors: list[str], message) -> None:
    url = message.location.get("url", "")
    if not any(part in url and text in message.text for part, text in EXPECTED_ERRORS.items()):
        errors.append(f"{message.text} ({url})")


def wait_until_at_rest(page) -> None:
    """Waits until the page has all responses, has processed them and has drawn the result."""
    idle = "new Promise(done => requestIdleCallback(done))"
    drawn = "new Promise(done => requestAnimationFrame(done))"
    quiet = 0
    while quiet < 3:  # processing may cause new requests
        for event in (idle, drawn, idle):
            page.evaluate(event)
        quiet = 0 if page.pending else quiet + 1


def choose_template(page, template: str) -> None:
    """Clicks like a user in the template browser: the pack's name, the card."""
    page.get_by_text(host.PACK_NAME, exact=True).click()
    page.get_by_role("heading", name=template, exact=True).click()
    page.wait_for_function(
        "([name, count]) => app.extensionManager.workflow.activeWorkflow?.filename === name"
        " && app.graph.nodes.length === count",
        arg=[template, len(read(template)["nodes"])],
    )
    page.get_by_role("dialog").wait_for(state="hidden")
    wait_until_at_rest(page)


def open_template(page, template: str) -> None:
    """Opens a template like a user: Templates, the pack's name, the card."""
    page.get_by_role("button", name="Templates").first.click()
    choose_template(page, template)


def open_search(page) -> None:
    """Opens the node search by a double click on the empty graph; retries if a busy page saw two clicks."""
    from playwright.sync_api import TimeoutError

    query = page.get_by_role("combobox").first
    for _ in range(5):
        page.locator("#graph-canvas").dblclick(position={"x": 600, "y": 400})
        try:
            query.wait_for(timeout=6 * SECONDS)
            return
        except TimeoutError:
            continue
    raise AssertionError("no search opened after five double clicks")


def run(page, server) -> dict:
    """Presses Run and waits for the job's end; returns its history entry."""
    with page.expect_response(lambda r: r.url.endswith("/prompt") and r.request.method == "POST") as queued:
        page.get_by_test_id("queue-button").click()
    answer = queued.value.json()
    assert answer.get("prompt_id") and not answer["node_errors"], answer
    entry = server.wait(answer["prompt_id"])
    assert host.succeeded(entry), host.error_of(entry)
    return entry


def wait_for_videos(page, count: int) -> None:
    """Waits until `count` players have their video and the page has laid them out."""
    playable = "[...document.querySelectorAll('video')].filter(video => video.readyState >= 2).length"
    page.wait_for_function(f"{playable} >= {count}")
    wait_until_at_rest(page)


def set_widgets(page, values: dict) -> None:
    """Sets all widgets with the names in values, like a user; those inside subgraphs too."""
    page.evaluate(
        """values => {
            const nodes = [app.graph, ...app.rootGraph.subgraphs.values()].flatMap(graph => [...graph.nodes])
            for (const node of nodes) for (const widget of node.widgets ?? []) {
                const value = values[widget.name]
                if (value === undefined) continue
                widget.value = value
                widget.callback?.(value)
            }
        }""",
        values,
    )


def places(page, renderer: str) -> dict[str, Rectangle]:
    """Rectangle of each node with its title, in the graph's coordinates."""
    on_canvas = "node.pos[0], node.pos[1] - title, node.size[0], node.size[1] + title"
    in_page = "box.x / scale - offset[0], box.y / scale - offset[1], box.width / scale, box.height / scale"
    positions = page.evaluate(
        f"""() => {{
            const {{scale, offset}} = app.canvas.ds
            const title = LiteGraph.NODE_TITLE_HEIGHT
            return app.graph.nodes.map(node => {{
                const element = document.querySelector(`[data-node-id="${{node.id}}"]`)
                const box = element?.getBoundingClientRect()
                return [`${{node.id}} ${{node.type}}`, [{in_page if renderer == VUE else on_canvas}]]
            }})
        }}"""
    )
    return {name: Rectangle(*place) for name, place in positions}


FOCUSED = """() => {
    const {ariaLabel, textContent} = document.activeElement
    const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement)
    return [ariaLabel ?? textContent, outlineStyle, parseFloat(outlineWidth)]
}"""


def tab_through(page, first, count: int) -> list[str]:
    """Names of the controls that Tab goes through, from the first on; each has a ring around it."""
    first.focus()
    page.keyboard.press("Shift")  # from now on the browser takes the focus for one by keys
    names = []
    for _ in range(count):
        name, style, width = page.evaluate(FOCUSED)
        assert style != "none" and width >= 2, f"{name} has the focus, and no ring around it"
        names.append(name)
        page.keyboard.press("Tab")
    return names
