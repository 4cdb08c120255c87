"""The help pages say of each node what its schema says, and no local link leads nowhere."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "web" / "docs"
TREES = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "nodes").rglob("*.py"))]
FUNCTIONS = {node.name: node for tree in TREES for node in tree.body if isinstance(node, ast.FunctionDef)}
SCHEMAS = [
    {keyword.arg: keyword.value for keyword in call.keywords}
    for tree in TREES
    for call in ast.walk(tree)
    if isinstance(call, ast.Call) and ast.unparse(call.func) == "io.Schema"
]
OTHERS = ("README.md", "CHANGELOG.md", "assets/README.md", "builtin_model/MODEL_CARD.md")
OTHERS += ("docs/COMFYUI_CONTRACT.md",)
DOCUMENTS = [*(ROOT / name for name in OTHERS), *PAGES.rglob("*.md")]

schemas = pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema["node_id"].value)


def calls(tree: ast.AST, ending: str):
    """The calls of io.….Input or io.….Output in a schema's list, also in the helpers that it calls."""
    for node in ast.iter_child_nodes(tree) if not isinstance(tree, ast.Call) else [tree]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            yield from calls(FUNCTIONS[node.func.id], ending)
        elif isinstance(node, ast.Call) and re.fullmatch(rf"io\.\w+\.{ending}", ast.unparse(node.func)):
            yield node
        elif not isinstance(node, ast.Call):
            yield from calls(node, ending)


def output_name(call: ast.Call) -> str:
    """What the page shows: the given name, else the type, as in CLIP_VISION."""
    if call.args:
        return call.args[0].value
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", call.func.value.attr).upper()


def page(schema: dict) -> str:
    return (PAGES / f"{schema['node_id'].value}.md").read_text(encoding="utf-8")


def table(text: str, section: str) -> dict[str, list[str]]:
    """The rows of a section's table by the name in backticks in their first cell."""
    body = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.split("\n") if "|" in line]
    return {cells[0].strip("`"): cells for cells in rows[2:] if re.fullmatch(r"`\w+`", cells[0])}


def shown(default) -> str:
    """A default as the pages write it."""
    if isinstance(default, str):
        return f"`{default}`" if default else "empty"
    return f"{default:.10g}"


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
