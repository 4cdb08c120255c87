"""The page's scripts: Node runs the tests of those that need no page; all keep to the rules of web/."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
WEB = ROOT / "web"
SCRIPTS = sorted(WEB.rglob("*.js"))
LONGEST_FILE, MOST_BYTES = 250, 150_000
ENTRIES = [path for path in SCRIPTS if path.parent == WEB]
"""Files that the page runs; it imports the others too, which only offer functions."""

OUTSIDE = re.compile(r"""from\s+["'](?!\.)|import\s+["'](?!\.)|https?://|\beval\(|new Function|innerHTML""")
"""What has no place in a script: other modules than relative ones, addresses, text that becomes code."""


def names(path: Path) -> str:
    return str(path.relative_to(WEB))


def test_node_runs_the_tests_of_pure_modules():
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node found: install Node 20.19 or later")
    found = subprocess.run([node, "--test", "tests/web"], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-2000:]
    assert re.search(r"^# tests [1-9]", found.stdout, re.MULTILINE), found.stdout[-2000:]


@pytest.mark.parametrize("path", SCRIPTS, ids=names)
def test_a_script_is_short_and_imports_only_what_lies_beside_it(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    assert max(map(len, text.splitlines())) <= 120
    assert text.startswith("/**")
    assert OUTSIDE.findall(text) == []


@pytest.mark.parametrize("path", ENTRIES, ids=names)
def test_an_entry_registers_one_extension(path):
    assert path.read_text(encoding="utf-8").count("app.registerExtension(") == 1


@pytest.mark.parametrize("path", [path for path in SCRIPTS if path not in ENTRIES], ids=names)
def test_other_scripts_do_nothing_by_being_imported(path):
    """Every line that begins a statement at the top declares something."""
    starts = re.findall(r"^(?![ })\]/*]|$).*", path.read_text(encoding="utf-8"), re.MULTILINE)
    declares = re.compile(r"(import|export|function|async function|class|const|let)\b")
    assert [line for line in starts if not declares.match(line)] == []


@pytest.mark.parametrize("path", sorted((WEB / "pure").glob("*.js")), ids=names)
def test_pure_scripts_know_no_page(path):
    assert not re.search(r"\b(document|window|app|api)\.", path.read_text(encoding="utf-8"))


def test_scripts_and_style_are_small_together():
    assert sum(path.stat().st_size for path in [*SCRIPTS, *WEB.glob("*.css")]) <= MOST_BYTES
