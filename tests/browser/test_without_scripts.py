"""Where the page's scripts are off, every graph sends the same prompt and runs: they own no value."""

import pytest

from support import graphs, host, page
from support.page import RENDERERS

SEEDS = {"seed": 1, "noise_seed": 1}
FEW = {"width": 64, "height": 64, "frames": 4, "steps": 1, **SEEDS}
TEMPLATE = "3 Every knob"
CURVE = """[app.graph, ...app.rootGraph.subgraphs.values()].some(
    graph => graph.nodes.some(node => node.widgets?.some(widget => widget.name === "curve")))"""
PROMPT = "() => app.graphToPrompt().then(({output}) => output)"


def prompts(shown) -> dict:
    """Prompts of all templates, with seeds that do not change."""
    found = {}
    for name in graphs.NODE_GRAPHS:
        shown.evaluate("workflow => app.loadGraphData(workflow)", graphs.read(name))
        page.set_widgets(shown, SEEDS)
        found[name] = shown.evaluate(PROMPT)
    return found


@pytest.mark.parametrize("renderer", RENDERERS)
def test_graphs_are_the_same_and_run(browser, stocked_server, renderer):
    shown = page.open_page(browser, stocked_server, renderer)
    with_scripts = prompts(shown)
    assert shown.evaluate(CURVE)  # the last template has a sampler, in its subgraph
    shown.context.route(
        lambda url: f"/extensions/{host.PACK_NAME}/" in url and url.split("?")[0].endswith(".js"),
        lambda route: route.fulfill(content_type="text/javascript", body=""),
    )
    shown.reload()
    shown.wait_for_function("window.app?.graph && window.app.extensionManager")
    page.wait_until_at_rest(shown)  # the page loads its last workflow at the start
    assert prompts(shown) == with_scripts
    page.open_template(shown, TEMPLATE)
    page.set_widgets(shown, FEW)
    assert shown.evaluate(CURVE) is False
    page.run(shown, stocked_server)
    assert shown.errors == []
    shown.context.close()
