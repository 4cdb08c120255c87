"""Help pages and schemas of the nodes, read from their sources without a ComfyUI."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "web" / "docs"
TREES = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "nodes").rglob("*.py"))]
FUNCTIONS = {node.name: node for tree in TREES for node in tree.body if isinstance(node, ast.FunctionDef)}
SCHEMAS = [
    {keyword.arg: keyword.value for keyword in call.keywords}
    for tree in TREES
    for call in ast.walk(tree)
    if isinstance(call, ast.Call) and ast.unparse(call.func) == "io.Schema"
]

schemas = pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema["node_id"].value)


def calls(tree: ast.AST, ending: str):
    """Yields the calls of io.….Input or io.….Output in a schema's list, and in helpers that it calls."""
    for node in ast.iter_child_nodes(tree) if not isinstance(tree, ast.Call) else [tree]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
            yield from calls(FUNCTIONS[node.func.id], ending)
        elif isinstance(node, ast.Call) and re.fullmatch(rf"io\.\w+\.{ending}", ast.unparse(node.func)):
            yield node
        elif not isinstance(node, ast.Call):
            yield from calls(node, ending)


def output_name(call: ast.Call) -> str:
    """Name of an output on the page: its display name, or its type, such as CLIP_VISION."""
    if call.args:
        return call.args[0].value
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", call.func.value.attr).upper()


def page(schema: dict) -> str:
    return (PAGES / f"{schema['node_id'].value}.md").read_text(encoding="utf-8")


def table(text: str, section: str) -> dict[str, list[str]]:
    """Rows of a section's table, keyed by the name in backticks in the first cell."""
    body = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.split("\n") if "|" in line]
    return {cells[0].strip("`"): cells for cells in rows[2:] if re.fullmatch(r"`\w+`", cells[0])}


def shown(default) -> str:
    """Writes a default as the pages do."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return f"`{default}`" if default else "empty"
    return f"{default:.10g}"
