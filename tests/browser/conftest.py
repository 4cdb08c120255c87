"""What the tests in a browser share: Chromium, a ComfyUI with every file that the templates name, pages."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from support import graphs, host, page

CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")


def missing(what: str) -> None:
    """Skips the test, or fails it where STILLMOTION_REQUIRE_HOST is 1."""
    (pytest.fail if os.environ.get("STILLMOTION_REQUIRE_HOST") == "1" else pytest.skip)(what)


@pytest.fixture(scope="session")
def chromium():
    """Path of the program; skips where it or Playwright is missing."""
    if importlib.util.find_spec("playwright") is None:
        missing("no Playwright found: pip install playwright")
    program = os.environ.get("CHROMIUM") or next((path for path in CHROMIUM if Path(path).exists()), None)
    if program is None:
        missing("no Chromium found: apt-get install chromium, or set CHROMIUM")
    return program


@pytest.fixture(scope="module")
def browser(chromium):
    """Chromium for one file: while it runs, so does Playwright's event loop, and asyncio.run is refused."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=page.FLAGS)
        yield running
        running.close()


def _stock(folder: Path, name: str) -> None:
    """Gives a tiny file in one of the host's folders another name too."""
    kind = (host.PARTS | {"controlnet": "controlnet"}).get(
        folder.name, "sv3d_p" if name.startswith("sv3d") else "svd"
    )
    kind = "exvideo" if (folder.name, name) == ("diffusion_models", "model.fp16.safetensors") else kind
    if (folder / name).exists():
        return
    if name.endswith(".ckpt"):
        tensors = load_file(folder / f"tiny_{name.removesuffix('.ckpt')}.safetensors")
        torch.save({"state_dict": tensors}, folder / name)
    else:
        (folder / name).hardlink_to(folder / f"tiny_{kind}.safetensors")


@pytest.fixture(scope="session")
def stocked_server(chromium, server, base):
    """The ComfyUI with every file that a template is set to, all being tiny ones."""
    (base / "input" / "example.png").write_bytes((base / "input" / "rocket.jpg").read_bytes())
    nodes = [node for template in graphs.NAMES for node in graphs.nodes_of(graphs.read(template))]
    for node in (node for node in nodes if node["type"] not in graphs.OWN_FILES):
        folders = {model["name"]: model["directory"] for model in node["properties"].get("models", ())}
        for name in graphs.files_named(node):
            _stock(base / "models" / folders[name], name)
    server.send("/history", {"clear": True})  # prompts with NaN in them are no JSON for the page
    return server
