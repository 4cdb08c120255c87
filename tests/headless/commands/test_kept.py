"""Long clips from the command: what is kept after each chunk, and how a clip that was cut off goes on."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from stillmotion.headless import progress
from stillmotion.headless.command_line import main
from stillmotion.headless.files import latents

ROOT = Path(__file__).parents[3]
CLIP = [
    *("--frames", "9", "--chunk", "3", "--overlap", "1", "--width", "64", "--height", "64"),
    *("--steps", "2", "--dtype", "float32"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a picture, and a clip that was never cut off."""
    folder = tmp_path_factory.mktemp("kept")
    Image.effect_noise((64, 64), 60).convert("RGB").save(folder / "picture.png")
    run(folder, "--save-latents", folder / "whole.safetensors", "--output", folder / "whole")
    return folder


def words(folder: Path, *more) -> list[str]:
    return [str(word) for word in ("animate", folder / "picture.png", *CLIP, *more)]


def run(folder: Path, *more) -> int:
    return main(words(folder, *more))


@pytest.fixture(scope="module")
def cut(folder: Path) -> Path:
    """Latents of a clip whose process was killed after the first step of its third chunk."""
    cut = folder / "cut.safetensors"
    script = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "import conftest\n"
        "from stillmotion.headless import progress\n"
        "from stillmotion.headless.command_line import main\n"
        "def killing(self, stage, done, total):\n"
        "    if stage == 'sampling' and done == 2 * 2 + 1:\n"
        f"        os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        "progress.ProgressBars.__call__ = killing\n"
        f"main({words(folder, '--save-latents', cut, '--output', folder / 'cut')!r})\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=120, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    return cut


def test_a_clip_that_was_killed_in_its_third_chunk_goes_on_to_the_same_bytes(folder: Path, cut: Path):
    kept = latents.read(cut)
    assert kept.latents.shape == (5, 4, 8, 8) and kept.notes["unfinished"]["frames"] == 5
    more = ("--resume", cut, "--save-latents", folder / "again.safetensors", "--output", folder / "again")
    assert run(folder, *more) == 0
    whole, again = (latents.read(folder / f"{name}.safetensors") for name in ("whole", "again"))
    assert torch.equal(whole.latents, again.latents) and whole.notes == again.notes
    frames = sorted(path.name for path in (folder / "whole").glob("*.png"))
    assert len(frames) == 9
    for name in frames:
        assert (folder / "whole" / name).read_bytes() == (folder / "again" / name).read_bytes()


@pytest.mark.parametrize("stop, told", [(1, False), (5, True)])  # steps, two a chunk
def test_a_stopped_command_says_how_its_clip_goes_on(tmp_path, folder, capsys, monkeypatch, stop, told):
    def stopping(self, stage: str, done: int, total: int) -> None:
        if stage == "sampling" and done == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(progress.ProgressBars, "__call__", stopping)
    saved = tmp_path / "stopped.safetensors"
    assert run(folder, "--save-latents", saved, "--output", tmp_path / "stopped") == 130
    assert (f"{saved} has the chunks so far" in capsys.readouterr().err) == told == saved.exists()


def test_a_longer_clip_may_go_on_from_it(folder: Path, cut: Path):
    saved = folder / "longer.safetensors"
    assert run(folder, "--frames", "11", "--resume", cut, "--save-latents", saved) == 0
    longer, whole = latents.read(saved).latents, latents.read(folder / "whole.safetensors").latents
    assert len(longer) == 11 and torch.equal(longer[:8], whole[:8])


@pytest.mark.parametrize(
    "more, said",
    [
        (("--seed", "1"), "seed is 1 here and was 0"),
        (("--overlap", "2"), "overlap is 2 here and was 1"),
        (("--dtype", "bfloat16"), "dtype is bfloat16 here"),
        (("--long", "whole", "--chunk", "3"), "chunk goes with"),
        (("--frames", "5"), "goes on from fewer"),
        (("--no-metadata",), "--no-metadata"),
        (("--loop", "pinned"), "chunk and overlap can't go with the loop pinned"),
    ],
)
def test_another_clip_is_refused(folder: Path, cut: Path, capsys, more, said: str):
    files = set(folder.iterdir())
    assert run(folder, "--resume", cut, "--save-latents", folder / "no.safetensors", *more) != 0
    assert said in capsys.readouterr().err
    assert set(folder.iterdir()) == files


def test_another_picture_is_refused(folder: Path, cut: Path, capsys, tmp_path):
    Image.effect_noise((64, 64), 30).convert("RGB").save(tmp_path / "picture.png")
    assert run(tmp_path, "--resume", cut, "--save-latents", tmp_path / "no.safetensors") != 0
    assert "the picture is another one" in capsys.readouterr().err


def test_a_reference_must_stay_and_the_first_frame_may_change(tmp_path, folder, capsys, monkeypatch):
    def stopping(self, stage: str, done: int, total: int) -> None:
        if stage == "sampling" and done == 3:
            raise KeyboardInterrupt

    reference, saved = tmp_path / "look.png", tmp_path / "cut.safetensors"
    Image.effect_noise((64, 64), 90).convert("RGB").save(reference)
    with monkeypatch.context() as patch:
        patch.setattr(progress.ProgressBars, "__call__", stopping)
        assert run(folder, "--reference", reference, "--save-latents", saved) == 130
    more = ("--reference", reference, "--resume", saved, "--save-latents")
    assert run(folder, *more, tmp_path / "whole.safetensors", "--keep-first", "exact") == 0
    Image.effect_noise((64, 64), 30).convert("RGB").save(reference)
    assert run(folder, *more, tmp_path / "no.safetensors") != 0
    assert "the picture is another one, or a reference is" in capsys.readouterr().err


def test_a_complete_clip_is_none_to_go_on_from_and_is_refused_with_all_other_mistakes(folder: Path, capsys):
    more = ("--resume", folder / "whole.safetensors", "--save-latents", folder / "no.safetensors")
    assert run(folder, *more, "--device", "none") != 0
    said = capsys.readouterr().err
    assert "--decode-latents" in said and "device" in said


def test_a_file_is_not_both_read_and_written(folder: Path, cut: Path, capsys):
    assert run(folder, "--resume", cut, "--save-latents", cut, "--overwrite") != 0
    assert "cut.safetensors" in capsys.readouterr().err
