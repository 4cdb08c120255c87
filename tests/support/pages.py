"""Help pages and schemas of the nodes, made with a stand-in of the host: no ComfyUI is needed."""

import asyncio
import importlib
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock

import pytest

import stillmotion

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "web" / "docs"
API = "comfy_api.v0_0_2"
FOLDERS = {"unet": "diffusion_models", "vae": "vae", "image_encoder": "clip_vision"}


@dataclass
class Port:
    """An input or an output of a schema: its type in the host's API, its name, and its options."""

    kind: str
    id: str
    options: dict = field(default_factory=dict)


class Type:
    """A type of the host's API, such as io.Int; an output without a name is called as in CLIP_VISION."""

    def __init__(self, name: str):
        self._name = name

    def Input(self, id: str, **options) -> Port:
        return Port(self._name, id, options)

    def Output(self, id: str | None = None, **options) -> Port:
        shown_name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self._name).upper()
        return Port(self._name, id or shown_name, options)


class Io(ModuleType):
    """The part of the host's API that schemas are written in."""

    ComfyNode = object
    Schema = SimpleNamespace
    Hidden = SimpleNamespace(unique_id="UNIQUE_ID")

    def __getattr__(self, name: str) -> Type:
        return Type(name)


def _stand_ins() -> dict[str, object]:
    io = Io("io")
    api = SimpleNamespace(io=io, ComfyExtension=object, InputImpl=mock.MagicMock(), Types=mock.MagicMock())
    # All of it that a schema shows, and no checkpoints.
    host = mock.MagicMock(SAMPLERS=["euler"], FOLDERS=FOLDERS)
    return {
        "comfy_api": SimpleNamespace(v0_0_2=api),
        API: api,
        "folder_paths": mock.MagicMock(),
        "stillmotion.nodes.host": host,
    }


def _read_schemas() -> list[SimpleNamespace]:
    """The schemas of all nodes; the modules that were imported for them are forgotten again."""
    with mock.patch.dict(sys.modules, _stand_ins()):
        nodes = importlib.import_module("stillmotion.nodes")
        found = [node.define_schema() for node in asyncio.run(nodes.StillmotionExtension().get_node_list())]
        del stillmotion.nodes
    return found


SCHEMAS = _read_schemas()
schemas = pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.node_id)


def page(schema: SimpleNamespace) -> str:
    return (PAGES / f"{schema.node_id}.md").read_text(encoding="utf-8")


def table(text: str, section: str) -> dict[str, list[str]]:
    """Rows of a section's table, keyed by the name in backticks that the first cell begins with."""
    body = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.split("\n") if "|" in line]
    names = [re.fullmatch(r"`(\w+)`( · .+)?", cells[0]) for cells in rows]
    return {name[1]: cells for name, cells in zip(names, rows, strict=True) if name}


def shown(default) -> str:
    """Writes a default as the pages do."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return f"`{default}`" if default else "empty"
    return f"{default:.10g}"
