"""Nothing that is there is ever changed or gone, whatever is named as an output and whatever fails."""

import contextlib
import functools
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from PIL import Image

from stillmotion import builtin_model
from stillmotion.clips.plan import Plan
from stillmotion.clips.recipes import Encode, Sample
from stillmotion.headless.command_line import main
from stillmotion.headless.commands import animate
from stillmotion.headless.files.destinations import OutputError, check_apart, free_name, replacing
from stillmotion.headless.files.videos import write_video

FRAMES = [np.full((16, 16, 3), shade, np.uint8) for shade in (60, 90)]
OLD = [np.full((16, 16, 3), shade, np.uint8) for shade in (10, 20, 30)]
FILES = ("photo.png", "a/photo.png", "a/clip.mp4", "clip.mp4", "a/l.safetensors", "photo.mp4", "a/notes.txt")
FOLDERS = ("frames", "a/frames", "b")
HELD = ("our frames", "our frames and a picture", "our frames and notes", "our frames and icons")
HELD += ("another tool's frames", "icons", "nothing")
NEW = ("new.mp4", "a/new.webp", "new", "b/new.gif", "frames/new.mp4", "l.safetensors")
LINKS = {"link.mp4": "clip.mp4", "link.png": "photo.png", "linked": "a", "a/broken.webp": "new.webp"}
CALLS = ("rename", "replace", "unlink", "rmdir", "mkdir", "open", "close")


class Failure:
    """The n-th of the calls that change the disk fails, or all from then on, or is where Ctrl-C comes."""

    def __init__(self, at: int | None, error: type[BaseException] | None, for_good: bool):
        self.at, self.error, self.for_good, self.count = at, error, for_good, 0

    def __call__(self, function, *arguments, **options):
        self.count += 1
        if self.at is not None and (self.count == self.at or (self.for_good and self.count > self.at)):
            raise self.error(13, "refused by the test") if self.error is OSError else self.error()
        return function(*arguments, **options)

    @contextlib.contextmanager
    def active(self):
        with contextlib.ExitStack() as stack:
            for name in CALLS:
                stack.enter_context(mock.patch.object(os, name, functools.partial(self, getattr(os, name))))
            yield


class Stub:
    """A pipeline that computes nothing; a file may come, or the disk be full, while it does."""

    checkpoint, device = builtin_model.load(), torch.device("cpu")
    dtype = decode_dtype = torch.float32
    loras, ranks = (), None

    def __init__(self, disk_full_at: int | None, comes: str | None):
        self._disk_full_at, self._comes = disk_full_at, comes

    @property
    def fit(self):
        """Everything fits."""
        return SimpleNamespace(check=lambda *_, **__: None, needed=lambda *_, **__: 0)

    def plan(self, settings):
        """A plan for the checkpoint."""
        return Plan.of(settings, self.checkpoint.variant)

    def latent_size(self, *_):
        return 2, 8, 8

    def perform(self, step):
        if isinstance(step, Encode):
            return torch.zeros(1, 1, 64), torch.zeros(1, 4, 8, 8)
        return torch.zeros(2, 4, 8, 8) if isinstance(step, Sample) else self._frames()

    def _frames(self):
        for index, frame in enumerate(FRAMES):
            if index == self._disk_full_at:
                raise OSError(28, "No space left on device")
            if self._comes and not os.path.lexists(self._comes):
                Path(self._comes).parent.mkdir(exist_ok=True)
                Path(self._comes).write_text("precious")
            yield frame


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Frames of ours and a picture of somebody's, to plant."""
    folder = tmp_path_factory.mktemp("material")
    write_video(folder / "ours", OLD, 8, {"seed": 1})
    Image.new("RGB", (64, 64), (200, 80, 30)).save(folder / "photo.png")
    return folder


def plant(root: Path, material: Path, files: list[str], folders: dict[str, str], links: list[str]) -> None:
    (root / "a").mkdir()
    for name in files:
        shutil.copy(material / "photo.png", root / name)
    for name, held in folders.items():
        if "our frames" in held:
            shutil.copytree(material / "ours", root / name)
        (root / name).mkdir(exist_ok=True)
        if "picture" in held or "another" in held:
            shutil.copy(material / "photo.png", root / name / "frame_0001.png")
        if "notes" in held:
            (root / name / "notes.txt").write_text("mine")
        if "icons" in held:
            (root / name / ".DS_Store").write_bytes(b"icons")
    for name in links:
        (root / name).symlink_to(LINKS[name])


def tree(folder: Path) -> dict[str, bytes | str]:
    """Every file, link and folder below, with what it holds."""

    def held(path: Path) -> bytes | str:
        if path.is_symlink():
            return f"a link to {os.readlink(path)}"
        return path.read_bytes() if path.is_file() else "a folder"

    return {str(path.relative_to(folder)): held(path) for path in folder.rglob("*")}


@st.composite
def scenarios(draw):
    """What lies in a folder, a command line about it, and what happens on the way."""
    files = ["photo.png", *draw(st.lists(st.sampled_from(FILES[1:]), unique=True))]
    folders = draw(st.dictionaries(st.sampled_from(FOLDERS), st.sampled_from(HELD)))
    links = draw(st.lists(st.sampled_from(sorted(LINKS)), unique=True))
    there = [*files, *folders, *links]
    pictures = [name for name in there if name.endswith("photo.png")]
    pictures += [f"{folder}/frame_0001.png" for folder, held in folders.items() if "frames" in held]
    read = draw(st.lists(st.sampled_from(pictures), min_size=1, max_size=2, unique=True))
    outputs = st.sampled_from([*(folders or FOLDERS)]) | st.sampled_from([*there, *NEW, ".", "a"])
    if len(read) > 1:
        outputs = outputs.map(lambda name: os.path.join(os.path.dirname(name), "{name}" + Path(name).suffix))
    latents = st.sampled_from([name for name in [*files, *NEW] if name.endswith(".safetensors")])
    return {
        "planted": (files, folders, links),
        "read": read,
        "outputs": draw(st.lists(outputs, max_size=3, unique=True)),
        "latents": draw(st.none() | latents) if len(read) == 1 else None,
        "failure": (
            draw(st.none() | st.integers(1, 25)),
            draw(st.sampled_from([OSError, KeyboardInterrupt])),
            draw(st.booleans()),
        ),
        "disk_full_at": draw(st.sampled_from([None, None, None, 0, 1])),
        "comes": draw(st.none() | st.sampled_from(["new.mp4", "new/mine.txt", "b/mine.txt", "a/new.webp"])),
    }


@contextlib.contextmanager
def planted(material, scenario):
    """A folder with the user's files in it, and what they hold."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        plant(root, material, *scenario["planted"])
        yield root, tree(root)


def run(root: Path, scenario: dict, *options: str) -> int | str:
    """The command in that folder."""
    words = [*scenario["read"], *(word for name in scenario["outputs"] for word in ("--output", name))]
    words += ["--save-latents", scenario["latents"]] if scenario["latents"] else []
    stub, here = Stub(scenario["disk_full_at"], scenario["comes"]), Path.cwd()
    os.chdir(root)
    size = ("--frames", "2", "--width", "64", "--height", "64")
    try:
        stubbed = mock.patch.object(animate, "open_pipeline", lambda *_, **__: stub)
        with stubbed, Failure(*scenario["failure"]).active():
            status = main(["animate", *words, *options, *size])
    except KeyboardInterrupt:
        status = "interrupted"  # within what main does about the first interrupt
    finally:
        os.chdir(here)
    event(f"status {status}")
    return status


def assert_kept(before: dict, after: dict) -> None:
    assert {path: after.get(path, "gone") for path in before} == before


many = settings(max_examples=150, deadline=None)


@many
@given(scenarios())
def test_nothing_that_was_there_is_changed_or_gone(material, scenario):
    with planted(material, scenario) as (root, before):
        run(root, scenario)
        after = tree(root)
        assert_kept(before, after)
        if (comes := scenario["comes"]) and comes not in before and after.get(comes) is not None:
            assert Path(comes).name != "mine.txt" or after[comes] == b"precious"


@many
@given(scenarios())
def test_on_request_the_outputs_and_frames_of_ours_are_replaced_and_nothing_else(material, scenario):
    with planted(material, scenario) as (root, before):
        old_frames = {frame.read_bytes() for frame in (material / "ours").iterdir()}
        stems = {Path(name).stem for name in scenario["read"]}
        named = [*scenario["outputs"], scenario["latents"] or "."]
        outputs = {(root / name.format(name=stem)).resolve() for name in named for stem in stems}
        outputs = {str(path.relative_to(root)) for path in outputs if path.is_file()}
        read = {str((root / name).resolve().relative_to(root)) for name in scenario["read"]}
        run(root, scenario, "--overwrite")
        after = tree(root)
        spared = {p: held for p, held in before.items() if p not in outputs and held not in old_frames}
        assert_kept(spared | {path: before[path] for path in read}, after)
        assert outputs <= after.keys()


@given(scenarios())
@settings(max_examples=80, deadline=None)
def test_what_came_meanwhile_stays(material, scenario):
    """Nobody asked for it to be replaced, since it wasn't there when the user said what to do."""
    first = Path(scenario["read"][0])
    name = [*scenario["outputs"], str(first.with_suffix(".mp4"))][0].format(name=first.stem)
    with planted(material, scenario) as (root, before):
        scenario |= {"comes": name, "failure": (None, OSError, False), "disk_full_at": None}
        run(root, scenario)
        after = tree(root)
        if Path(name).suffix and name not in before and name in after:
            assert after[name] == b"precious"
            assert any(f"{Path(name).stem}-2" in path for path in after)


class TestNames:
    @pytest.mark.parametrize(
        ("output", "message"),
        [
            ("photo.png", "is read or written already"),
            ("a/../photo.png", "is read or written already"),
            ("link.png", "is read or written already"),
            ("hard.png", "is read or written already"),
            (".", "would hold .*photo.png, another file of this run"),
            ("linked folder", "would hold .*photo.png"),
            ("frames/inside.mp4", "lies in frames, another output"),
            ("clip.mp4", "is read or written already"),
        ],
    )
    def test_outputs_meet_nothing(self, tmp_path, monkeypatch, output, message):
        monkeypatch.chdir(tmp_path)
        Path("photo.png").write_bytes(b"a picture")
        Path("a").mkdir()
        Path("link.png").symlink_to("photo.png")
        Path("linked folder").symlink_to(".")
        os.link("photo.png", "hard.png")
        with pytest.raises(OutputError, match=message):
            check_apart(Path(output), [Path("photo.png")], [Path("frames"), Path("clip.mp4")])

    def test_an_output_may_lie_beside_what_is_read_and_in_a_folder_that_is(self, tmp_path):
        check_apart(tmp_path / "clip.mp4", [tmp_path / "photo.png", tmp_path], [tmp_path / "clip.webp"])

    def test_a_free_name_is_numbered(self, tmp_path):
        (tmp_path / "clip.mp4").touch()
        (tmp_path / "clip-2.mp4").symlink_to("gone")
        assert free_name(tmp_path / "clip.mp4", {tmp_path / "clip-3.mp4"}) == tmp_path / "clip-4.mp4"
        assert free_name(tmp_path / "other.mp4") == tmp_path / "other.mp4"


def test_a_result_that_can_be_moved_nowhere_stays_where_it_was_made(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "nothing moves here")

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, refuse)
    told = pytest.raises(OutputError, match=r"nothing moves here.*kept as .*\..*\.partial\.clip\.mp4")
    with told, replacing(tmp_path / "clip.mp4", overwrite=False) as partial:
        partial.write_bytes(b"hours of work")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"hours of work"]
