"""README, CONTRIBUTING and docs/: short, linked with each other, and true of the tree."""

import re

import pytest

from support.pages import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
MAPS = [ROOT / "docs" / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]
MOST_WORDS, MOST_WORDS_IN_A_CELL = 600, 16
ROOMS = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."]

documents = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def links(text: str) -> list[str]:
    """Targets of a page's links and pictures; none of those in code."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def anchors(text: str) -> set[str]:
    """Names by which GitHub links to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short():
    assert len(README.split()) <= MOST_WORDS


def test_the_first_screen_shows_what_it_does_and_the_ways_in():
    first = README.partition("\n## ")[0]
    assert "](assets/demo.webp)" in first
    assert {"#in-comfyui", "#on-the-command-line"} <= set(links(first))
    assert len(first.splitlines()) <= 25


def test_a_cell_of_the_readme_has_one_idea():
    for line in README.splitlines():
        for cell in line.strip("|").split("|") if line.startswith("|") else ():
            assert len(cell.split()) <= MOST_WORDS_IN_A_CELL, cell


@documents
def test_links_lead_somewhere(path):
    for target in links(path.read_text(encoding="utf-8")):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        page = path.parent / name if name else path
        assert page.exists(), target
        if anchor:
            assert anchor in anchors(page.read_text(encoding="utf-8")), target


def test_every_page_is_reached_from_the_readme():
    pages, reached = [ROOT / "README.md"], set()
    while pages:
        path = pages.pop()
        reached.add(path)
        targets = [target.partition("#")[0] for target in links(path.read_text(encoding="utf-8"))]
        found = [(path.parent / target).resolve() for target in targets]
        pages += [page for page in found if page in DOCUMENTS and page not in reached]
    assert set(DOCUMENTS) <= reached


@documents
def test_targets_of_make_are_there(path):
    for target in re.findall(r"(?:`|^)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.M):
        assert re.search(rf"^{target}:", MAKEFILE, re.M), target


def paths_in(text: str) -> set[str]:
    """Files and folders of the tree that a page names in backticks, and folders in its drawing."""
    named = {name for name in re.findall(r"`(\w+/[\w./]*)`", text) if name.partition("/")[0] in ROOMS}
    drawing = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.M | re.S))
    return named | {name for name in re.findall(r"\b[a-z_]+/", drawing) if name.rstrip("/") in ROOMS}


@pytest.mark.parametrize("path", MAPS, ids=lambda path: path.name)
def test_paths_are_there(path):
    text = path.read_text(encoding="utf-8")
    assert [name for name in sorted(paths_in(text)) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", MAPS, ids=lambda path: path.name)
def test_tables_are_where_the_page_says(path):
    for table, file in re.findall(r"\b([A-Z]{4,}) in `([\w./]+)`", path.read_text(encoding="utf-8")):
        place = ROOT / file
        text = (place / "__init__.py" if place.is_dir() else place).read_text(encoding="utf-8")
        assert re.search(rf"^{table}\b.*= ", text, re.M), (table, file)


def test_the_architecture_has_a_row_for_every_room():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(\w+)/", text, re.M))
    rooms = {path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob("*/**/*.py")}
    assert {room for room in rooms if room[0] != "."} - {"build", "outputs"} <= rows


def test_every_node_has_a_row():
    rows = set(re.findall(r"\(\.\./web/docs/(\w+)\.md\)", (ROOT / "docs" / "nodes.md").read_text("utf-8")))
    assert rows == {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}
