"""Values against inputs of a schema, without a ComfyUI: the sentences."""

import errno
import math
from importlib.util import module_from_spec, spec_from_file_location
from types import SimpleNamespace

import pytest

from support.host import ROOT

# By its file, since the package of the nodes needs a ComfyUI; under its own name, for its relative imports.
spec = spec_from_file_location("stillmotion.nodes.checks", ROOT / "nodes" / "checks.py")
checks = module_from_spec(spec)
spec.loader.exec_module(checks)


def option(kind: str, name: str = "x", **fields) -> SimpleNamespace:
    """An input as the host's schemas have it."""
    return SimpleNamespace(**{"id": name, "step": None, "get_io_type": lambda: kind, **fields})


SIDE = option("INT", "width", min=64, max=4096, step=64)
OWN_SIDE = option("INT", "width", min=0, max=4096, step=64)


@pytest.mark.parametrize(
    ("given", "value", "said"),
    [
        (option("INT", min=1, max=1000), 0, "x is 0; it must be a whole number from 1 to 1000."),
        (option("INT", min=1, max=1000), 2.0, "x is 2.0; it must be a whole number from 1 to 1000."),
        (
            option("INT", min=0, max=2**64 - 1),
            -1,
            f"x is -1; it must be a whole number from 0 to {2**64 - 1}.",
        ),
        (option("FLOAT", min=1e-5, max=1e5), 0.0, "x is 0.0; it must be a number from 1e-05 to 100000."),
        (option("FLOAT", min=0.0, max=1.0), math.nan, "x is nan; it must be a number from 0 to 1."),
        (option("COMBO", options=["a", "b"]), "c", "x is 'c'; accepted are a, b."),
        (option("STRING"), None, "x is None; it must be text."),
    ],
)
def test_what_is_said_of_a_wrong_value(given, value, said):
    assert checks.complaint(given, value) == said


@pytest.mark.parametrize(
    ("given", "value", "nearest"),
    [
        (SIDE, 1000, 1024),
        (SIDE, 0, 64),
        (SIDE, 96, 128),
        (SIDE, 95, 64),
        (SIDE, 5000, 4096),
        (SIDE, -7, 64),
        (OWN_SIDE, 20, 64),
        (OWN_SIDE, -64, 64),
    ],
)
def test_a_size_that_does_not_fit_is_told_the_nearest_that_does(given, value, nearest):
    bounds = f"from {given.min} to 4096"
    said = f"width is {value}; it must be a multiple of 64 {bounds}. The nearest is {nearest}."
    assert checks.complaint(given, value) == said
    assert checks.complaint(given, nearest) is None


def test_a_long_list_of_choices_is_cut():
    said = checks.complaint(option("COMBO", options=[f"file{n}" for n in range(100)]), "gone")
    assert said.startswith("x is 'gone'; accepted are file0, file1, ")
    assert said.endswith("file11 and 88 more.")


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (SIDE, 64),
        (OWN_SIDE, 0),
        (option("FLOAT", min=0.0, max=1.0), 1),
        (option("COMBO", options=["a"]), "a"),
        (option("STRING"), ""),
        (option("IMAGE"), None),
    ],
)
def test_what_is_accepted(given, value):
    assert checks.complaint(given, value) is None


class Refusal(ValueError):
    """A kind of error of our own, as CheckpointError is."""


class OwnError:
    """A node that refuses."""

    @classmethod
    def define_schema(cls) -> SimpleNamespace:
        return SimpleNamespace(inputs=[])

    @classmethod
    @checks.checked
    def execute(cls, error):
        raise error


def test_the_page_gets_no_class_of_ours_whose_name_has_the_path_of_the_pack():
    with pytest.raises(ValueError, match="the file is empty") as raised:
        OwnError.execute(error=Refusal("the file is empty"))
    assert type(raised.value) is ValueError


def test_a_full_disk_is_said_with_its_place_and_what_to_do():
    full = OSError(errno.ENOSPC, "No space left on device", "/temp/clip.webp")
    with pytest.raises(
        RuntimeError, match=r"no room is left on the disk at /temp/clip\.webp; delete files there"
    ):
        OwnError.execute(error=full)
    with pytest.raises(FileNotFoundError):
        OwnError.execute(error=FileNotFoundError(errno.ENOENT, "No such file", "/temp"))
