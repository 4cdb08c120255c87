"""The help pages say of each node what its schema says, and no local link leads nowhere."""

import ast
import re

import pytest

from support.pages import PAGES, ROOT, SCHEMAS, calls, output_name, page, schemas, shown, table

OTHERS = ("README.md", "CHANGELOG.md", "assets/README.md", "builtin_model/MODEL_CARD.md")
OTHERS += ("docs/COMFYUI_CONTRACT.md",)
DOCUMENTS = [*(ROOT / name for name in OTHERS), *PAGES.rglob("*.md")]


def test_every_node_has_a_page_and_every_page_a_node():
    assert len(SCHEMAS) == 11
    assert {schema["node_id"].value for schema in SCHEMAS} == {path.stem for path in PAGES.glob("*.md")}


@schemas
def test_page_is_headed_with_the_display_name(schema):
    assert page(schema).startswith(f"# {schema['display_name'].value}\n")


@schemas
def test_page_names_the_inputs_with_their_defaults(schema):
    rows = table(page(schema), "Inputs")
    inputs = {call.args[0].value: call for call in calls(schema["inputs"], "Input")}
    assert list(rows) == list(inputs)
    for name, call in inputs.items():
        defaults = [keyword.value for keyword in call.keywords if keyword.arg == "default"]
        if defaults and isinstance(defaults[0], ast.Constant):
            assert rows[name][3] == shown(defaults[0].value), name


@schemas
def test_page_names_the_outputs(schema):
    assert list(table(page(schema), "Outputs")) == [
        output_name(call) for call in calls(schema["outputs"], "Output")
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_local_links_and_pictures_are_there(path):
    targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    local = [target.partition("#")[0] for target in targets if not re.match(r"https?:|#", target)]
    assert [target for target in local if not (path.parent / target).exists()] == []
