"""Words of the templates: a subgraph and a note call an input what its own node calls it in the page."""

import re

import pytest

from support import graphs
from support.pages import SCHEMAS

LABELS = {
    (schema.node_id, option.id): option.options.get("display_name", option.id)
    for schema in SCHEMAS
    for option in schema.inputs
}
EMPHASISED = re.compile(r"(?<!\*)\*(\w+)\*(?!\*)")


def subgraph_inputs(workflow: dict):
    """Each input of a subgraph, that of the node that stands for it, and where it leads: [(node, input)]."""
    for subgraph in workflow.get("definitions", {}).get("subgraphs", ()):
        inside = {node["id"]: node for node in subgraph["nodes"]}
        links = {link["id"]: link for link in subgraph["links"]}
        (outer,) = (node for node in workflow["nodes"] if node["type"] == subgraph["id"])
        shown = {slot["name"]: slot for slot in outer["inputs"]}
        for slot in subgraph["inputs"]:
            ends = [links[number] for number in slot["linkIds"]]
            nodes = [inside[end["target_id"]] for end in ends]
            slots = [node["inputs"][end["target_slot"]] for node, end in zip(nodes, ends, strict=True)]
            leads = [(node["type"], each["name"]) for node, each in zip(nodes, slots, strict=True)]
            yield slot, shown[slot["name"]], leads


@pytest.mark.parametrize("name", graphs.NAMES)
def test_a_subgraph_calls_an_input_as_its_node_does(name):
    for slot, shown, leads in subgraph_inputs(graphs.read(name)):
        words = {LABELS[lead] for lead in leads if lead in LABELS and lead[1] == slot["name"]}
        if words:
            assert {slot.get("label", slot["name"]), shown.get("label", shown["name"])} == words


@pytest.mark.parametrize("name", graphs.NAMES)
def test_a_note_calls_an_input_as_the_page_does(name):
    nodes = graphs.nodes_of(graphs.read(name))
    types = {node["type"] for node in nodes}
    labels = {option: label for (kind, option), label in LABELS.items() if kind in types}
    notes = [node["widgets_values"][0] for node in nodes if node["type"] in ("Note", "MarkdownNote")]
    assert notes
    for word in EMPHASISED.findall(" ".join(notes)):
        assert labels.get(word, word) == word
