"""What the project promises of its own code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ("builtin_model", "clips", "headless", "nodes", "samplers", "svd_model")
APART = ("tests", "stillmotion.egg-info")  # and what is hidden, such as .venv
FOLDERS = [
    path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "." and path.name not in APART
]
CODE = sorted([*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in folder.rglob("*.py"))])
PRODUCT = [path for path in CODE if path.relative_to(ROOT).parts[0] in PACKAGE]
LONGEST_FILE, LONGEST_FUNCTION = 400, 50


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_finds_nothing(command):
    result = run(sys.executable, "-m", "ruff", *command, ".")
    assert result.returncode == 0, result.stdout


def test_arrows_between_packages_go_one_way():
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stdout + result.stderr


def test_tests_that_share_a_server_stay_in_one_process(request):
    """pytest-xdist writes the groups of tests/conftest.py behind their names, where pytest lets it."""
    in_groups = request.config.getoption("loadgroup", default=False)
    assert request.node.nodeid.endswith("@test_contracts.py" if in_groups else request.node.name)


def imported(path: Path) -> set[str]:
    """The top-level names of all absolute imports, also of those inside of functions."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in plain | named}


@pytest.mark.parametrize(
    "path", [path for path in CODE if path.parent == ROOT / "nodes"], ids=lambda path: path.name
)
def test_only_nodes_host_touches_the_hosts_classes(path):
    """Elsewhere: the host's API for nodes, torch and the standard library."""
    allowed = {"comfy_api", "torch", *sys.stdlib_module_names}
    assert imported(path) <= allowed


def test_one_file_knows_how_processes_tell_each_other_things():
    """Networks and samplers take functions."""
    users = set()
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [getattr(node, "name", None), getattr(node, "module", None), getattr(node, "attr", None)]
            if any(isinstance(name, str) and "distributed" in name.split(".") for name in names):
                users.add(path.relative_to(ROOT))
    assert users == {Path("headless/engine/ranks.py")}


def test_importing_the_pack_needs_neither_comfyui_nor_torch():
    code = "import sys, stillmotion; sys.exit(bool({'torch', 'comfy', 'nodes'} & set(sys.modules)))"
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr


def test_the_entry_point_is_short():
    assert len((ROOT / "__init__.py").read_text(encoding="utf-8").splitlines()) < 30


FACTORIES = {"as_tensor", "empty", "eye", "full", "linspace", "logspace", "ones", "rand", "randn", "tensor"}
FACTORIES |= {"zeros", "arange"}


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_new_tensors_do_not_depend_on_the_callers_defaults(path):
    """Each says its dtype and its device, which torch.set_default_dtype and set_default_device change."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if ast.unparse(node.func.value) == "torch" and node.func.attr in FACTORIES:
            options = {keyword.arg for keyword in node.keywords}
            needed = {"device"} if node.func.attr == "arange" else {"dtype", "device"}  # of whole numbers
            assert None in options or needed <= options, ast.unparse(node)


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short_and_documented(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        # A node's schema is a table: cutting it up would hide it.
        if isinstance(node, ast.FunctionDef) and node.name != "define_schema":
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node in tree.body and node.name[0] != "_":
            assert ast.get_docstring(node), f"{node.name} has no docstring"


# What torch and the host call by these names is said in the docstring of the class.
CALLED_BY_OTHERS = {"forward", "define_schema", "execute", "validate_inputs"}
TREES = [ast.parse(path.read_text(encoding="utf-8")) for path in CODE]
CLASSES = [node for tree in TREES for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [child for child in node.body if isinstance(child, ast.FunctionDef) and child.name[0] != "_"]


def documented_in_a_base(node: ast.ClassDef, name: str) -> bool:
    bases = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}
    return any(
        method.name == name and ast.get_docstring(method)
        for other in CLASSES
        if other.name in bases
        for method in methods(other)
    )


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_methods_are_documented(path):
    """Each in its own docstring, or in the docstring of the method that it overrides."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name[0] != "_":
            for method in methods(node):
                if method.name not in CALLED_BY_OTHERS and not documented_in_a_base(node, method.name):
                    assert ast.get_docstring(method), f"{node.name}.{method.name} has no docstring"


NO_NAMES = {"given", "known", "made", "taken", "ready", "before"}


def names(tree: ast.AST) -> set[str]:
    """Names that a file gives: functions, classes, parameters, variables, attributes and imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.alias) and node.asname:
            found.add(node.asname)
    return found


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_are_nouns_of_the_field(path):
    """A participle says nothing of the thing: name the noun."""
    assert not names(ast.parse(path.read_text(encoding="utf-8"))) & NO_NAMES
