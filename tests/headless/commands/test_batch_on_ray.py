"""The command `batch --engine ray` with the built-in model; `make test-cluster` installs Ray."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from stillmotion.headless.command_line import OK, REFUSED, main
from stillmotion.headless.commands.statuses import NOT_WHOLE

ROOT = Path(__file__).parents[3]
QUICK = ("--frames", "2", "--width", "64", "--height", "64", "--steps", "1")


@pytest.fixture
def manifest(tmp_path):
    """A manifest in the current folder of three pictures, twice with other settings."""
    pytest.importorskip("ray.data", reason="Ray is not installed; make test-cluster installs it")
    rows = []
    for number in range(3):
        Image.new("RGB", (96, 64), (80 * number, 80, 30)).save(tmp_path / f"{number}.png")
        rows += [{"image": f"{number}.png", "seed": seed, "id": f"{number} {seed}"} for seed in (0, 5)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def batch(*words) -> int:
    return main(["batch", *map(str, words)])


def clips(out) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "clips").rglob("*") if path.is_file()}


def test_one_process_three_shards_and_ray_give_equal_names_and_bytes(manifest, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)  # in which workers find the package, as this process does
    assert batch(manifest, "--out", tmp_path / "here", *QUICK) == OK
    words = [sys.executable, "-m", "stillmotion", "batch", manifest, "--out", tmp_path / "shards", *QUICK]
    shards = [subprocess.Popen([*words, "--shard", f"{number}/3"]) for number in range(3)]
    assert [shard.wait() for shard in shards] == [OK] * 3
    with manifest.open("a") as file:
        for row in ({"image": "cut.png"}, {"image": "none.png"}, {"image": "0.png", "width": 100}):
            file.write("\n" + json.dumps(row))
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    assert (
        batch(manifest, "--out", tmp_path / "ray", *QUICK, "--engine", "ray", "--workers", "1:2") == NOT_WHOLE
    )
    said = capsys.readouterr().err
    assert "9 rows: 6 done, 3 refused." in said
    for reason in ("cut.png is damaged", "none.png: there is no such file", "width is 100"):
        assert reason in said
    here = clips(tmp_path / "here")
    assert len(here) == 6 and here == clips(tmp_path / "shards") == clips(tmp_path / "ray")
    assert batch("--out", tmp_path / "ray", "--status") == OK
    assert capsys.readouterr().out.split()[:6] == ["rows", "9", "done", "6", "refused", "3"]


def test_a_mistake_is_said_before_ray_is_started(manifest, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ray.init", None)
    none = ("--checkpoint", tmp_path / "none.safetensors")
    assert batch(manifest, "--out", tmp_path / "out", *none, "--engine", "ray") == REFUSED
    assert "there is no such file" in capsys.readouterr().err and not (tmp_path / "out").exists()
