"""The help pages say of each node what its schema says, and no local link leads nowhere."""

import json
import re

import pytest

from stillmotion.headless.option_table import options_page
from support.pages import PAGES, ROOT, SCHEMAS, page, schemas, shown, table

REMEDY = "write it anew: python -m stillmotion.headless.option_table docs/options.md"

OTHERS = ("README.md", "CHANGELOG.md", "assets/README.md", "builtin_model/MODEL_CARD.md")
OTHERS += ("docs/COMFYUI_CONTRACT.md", "docs/options.md")
DOCUMENTS = [*(ROOT / name for name in OTHERS), *PAGES.rglob("*.md")]


def test_every_node_has_a_page_and_every_page_a_node():
    assert SCHEMAS
    nodes = {schema.node_id for schema in SCHEMAS}
    assert (
        nodes
        == {path.stem for path in PAGES.glob("*.md")}
        == {path.parent.name for path in PAGES.glob("*/de.md")}
    )


@schemas
def test_page_is_headed_with_the_display_name(schema):
    assert page(schema).startswith(f"# {schema.display_name}\n")


@schemas
def test_page_names_the_inputs_with_their_defaults(schema):
    rows = table(page(schema), "Inputs")
    assert list(rows) == [option.id for option in schema.inputs]
    for option in schema.inputs:
        words = rows[option.id][1]
        if "default" in option.options:
            assert words.endswith(f". Default {shown(option.options['default'])}"), option.id
        else:
            assert "Default" not in words or words.endswith(". Default: the first"), option.id


@schemas
def test_page_names_the_labels_of_inputs_where_they_differ(schema):
    rows = table(page(schema), "Inputs")
    for option in schema.inputs:
        label = option.options.get("display_name", option.id)
        assert rows[option.id][0] == f"`{option.id}`" + (f" · {label}" if label != option.id else "")


@schemas
def test_the_german_page_names_inputs_outputs_and_defaults(schema):
    text = (PAGES / schema.node_id / "de.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {schema.display_name}\n")
    rows = table(text, "Eingänge")
    assert list(rows) == [option.id for option in schema.inputs]
    for option in schema.inputs:
        label = option.options.get("display_name", option.id)
        assert rows[option.id][0] == f"`{option.id}`" + (f" · {label}" if label != option.id else "")
        if "default" in option.options:
            default = shown(option.options["default"])
            default = {"empty": "leer", "true": "an", "false": "aus"}.get(default, default)
            assert rows[option.id][1].endswith(f" Standard: {default}"), option.id
    if schema.outputs:
        assert list(table(text, "Ausgänge")) == [output.id for output in schema.outputs]


@pytest.mark.parametrize("path", sorted(PAGES.rglob("*.md")), ids=lambda path: str(path.relative_to(PAGES)))
def test_tables_fit_the_panel_of_the_page(path):
    rows = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|--")]
    assert all(row.count("|") <= 4 for row in rows), "tables have at most three columns; write a list"


@schemas
def test_page_names_the_outputs(schema):
    assert list(table(page(schema), "Outputs")) == [output.id for output in schema.outputs]


def test_the_page_of_options_is_the_one_that_the_parser_gives():
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == options_page(), REMEDY


@pytest.mark.parametrize(
    "path", sorted((ROOT / "example_workflows").glob("*.json")), ids=lambda path: path.stem
)
def test_notes_of_templates_have_no_code(path):
    """Nodes 2.0 shows the words of code dark on dark."""
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    notes = [node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote"]
    assert [note for note in notes if "`" in note] == []


def test_a_page_has_at_most_200_kilobytes_of_pictures():
    for path in PAGES.rglob("*.md"):
        pictures = set(re.findall(r"\]\((pictures/[^)]+)\)", path.read_text(encoding="utf-8")))
        assert sum((PAGES / picture).stat().st_size for picture in pictures) <= 200_000, path


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_local_links_and_pictures_are_there(path):
    targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    local = [target.partition("#")[0] for target in targets if not re.match(r"https?:|#", target)]
    assert [target for target in local if not (path.parent / target).exists()] == []
