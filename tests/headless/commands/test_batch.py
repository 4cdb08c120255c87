"""The command `batch` with the built-in model: clips by their content, each once, whoever makes them."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from stillmotion.headless.command_line import INTERRUPTED, OK, REFUSED, main
from stillmotion.headless.files.videos import read_metadata
from stillmotion.headless.pipeline import Pipeline
from support.pages import ROOT

QUICK = ("--frames", "2", "--width", "64", "--height", "64", "--steps", "1")


@pytest.fixture
def pictures(tmp_path):
    """A folder with two pictures, of which the second has two names."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (96, 64), (200, 80, 30)).save(folder / "a.png")
    Image.new("RGB", (96, 64), (20, 80, 130)).save(folder / "b.png")
    (folder / "c.png").write_bytes((folder / "b.png").read_bytes())
    return folder


def batch(*words) -> int:
    return main(["batch", *map(str, words)])


def clips(out) -> dict[str, bytes]:
    """Content of all clips by their names."""
    return {path.name: path.read_bytes() for path in (out / "clips").rglob("*") if path.is_file()}


def states(out) -> list[str]:
    """States of all lines of the record."""
    lines = [line for path in (out / "done").rglob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted(json.loads(line)["state"] for line in lines)


def test_a_folder_becomes_clips_by_their_content_and_nothing_is_made_twice(
    pictures, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "out"
    assert batch(pictures, "--out", out, *QUICK) == OK
    assert states(out) == ["done", "done", "duplicate"]
    for path in (out / "clips").rglob("*.mp4"):
        notes = read_metadata(path)
        assert path.stem == notes["key"] and path.parent.name == path.stem[2:4]
        names = [hashlib.sha256((pictures / name).read_bytes()).hexdigest() for name in ("a.png", "b.png")]
        assert notes["image_sha256"] in names and notes["num_frames"] == 2
    first = clips(out)
    assert len(first) == 2 and not any((out / "parts").iterdir())
    monkeypatch.setattr(Pipeline, "perform", None)  # no clip is made any more
    assert batch(pictures, "--out", out, *QUICK) == OK
    assert batch(pictures, "--out", out, *QUICK, "--verify") == OK
    assert clips(out) == first
    assert "3 rows: 3 skipped." in capsys.readouterr().err


def test_what_is_refused_stands_aside_with_its_sentence_and_is_tried_again_on_demand(
    pictures, tmp_path, capsys
):
    out = tmp_path / "out"
    whole = (pictures / "a.png").read_bytes()
    (pictures / "a.png").write_bytes(whole[:60])
    manifest = pictures / "rows.jsonl"
    rows = [{"image": "a.png"}, {"image": "none.png"}, {"image": "b.png", "width": 100}, {"image": "b.png"}]
    manifest.write_text("\n".join(map(json.dumps, rows)))
    assert batch(manifest, "--out", out, *QUICK) == 1
    said = capsys.readouterr().err
    assert "a.png" in said and "none.png: there is no such file" in said and "b.png: width is 100" in said
    assert states(out) == ["done", "refused", "refused", "refused"]
    reasons = [json.loads(path.read_text())["reason"] for path in (out / "aside").iterdir()]
    assert len(reasons) == 3 and all(reason in said for reason in reasons)
    assert batch(manifest, "--out", out, *QUICK) == 1  # they stay aside
    (pictures / "b.png").rename(pictures / "none.png")
    (pictures / "none.png").rename(pictures / "b.png")
    (pictures / "a.png").write_bytes(whole)
    assert batch(manifest, "--out", out, *QUICK) == 1  # another file than then, so it is another row
    assert len(clips(out)) == 2
    assert batch(manifest, "--out", out, *QUICK, "--again", "refused") == 1
    assert "2 refused" in capsys.readouterr().err.splitlines()[-3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "SOURCE is missing"),
        (("in", "--sweep", "seeed=0:3"), "did you mean seed?"),
        (("in", "--sweep", "seed=3:3"), "has no value"),
        (("in", "--steps", "2", "--sweep", "steps=1,2"), "is an option and in --sweep"),
        (("in", "--shard", "2/2"), "is no shard I/N"),
        (("in", "--width", "100"), "width is 100"),
        (("in", "--pictures", "in"), "goes with a manifest"),
        (("nothing.jsonl",), "there is no such file"),
        (("in", "--timeout", "soon"), "is no duration"),
        (("in/*.txt",), "names no picture and no manifest"),
        (("https://user:secret@host/a.png",), "holds a user, a password or a query"),
    ],
)
def test_mistakes_end_it_before_anything_begins(words, message, pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert batch(*words, "--out", "out") == REFUSED
    said = capsys.readouterr().err
    assert message in said and "secret" not in said
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_no_store(pictures, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text.txt").touch()
    assert batch(pictures, "--out", tmp_path / "mine", *QUICK) == REFUSED
    assert "holds files that are no batch's" in capsys.readouterr().err
    assert batch("--out", tmp_path / "mine", "--status") == REFUSED


def test_a_store_that_fails_has_a_status_of_its_own(pictures, tmp_path, capsys):
    out = tmp_path / "out"
    assert batch(pictures / "a.png", "--out", out, *QUICK) == OK
    (out / "clips").rename(tmp_path / "elsewhere")
    (out / "clips").touch()  # where a folder is needed
    assert batch(pictures / "b.png", "--out", out, *QUICK) == 3
    assert "Given again, the command goes on where it stopped." in capsys.readouterr().err
    (out / "clips").unlink()
    assert batch(pictures / "b.png", "--out", out, *QUICK) == OK


def test_a_store_has_one_format(pictures, tmp_path, capsys):
    assert batch(pictures / "a.png", "--out", tmp_path / "out", *QUICK, "--format", "webp") == OK
    assert batch(pictures / "a.png", "--out", tmp_path / "out", *QUICK) == REFUSED
    assert "has clips in .webp, new ones are in .mp4" in capsys.readouterr().err


def test_a_dry_run_writes_nothing_and_status_and_index_say_what_there_is(pictures, tmp_path, capsys):
    out = tmp_path / "out"
    sweep = ("--sweep", "seed=0:2", "--sweep", "motion_bucket_id=60,127")
    assert batch(pictures, "--out", out, *QUICK, *sweep, "--dry-run") == OK
    assert capsys.readouterr().out == "12 to do, 0 done, 0 aside\n" and not out.exists()
    assert batch(pictures / "a.png", "--out", out, *QUICK, "--sweep", "seed=0:2", "--index") == OK
    assert batch("--out", out, "--status") == OK
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["rows", "2"], ["done", "2"]]
    page = (out / "index.html").read_text()
    assert page.count('preload="metadata"') == 2  # without it players show no first frame
    assert page.count("<video") == 2 and "a.png#seed=1" in page and "<script" not in page
    assert all(f'src="{path.relative_to(out)}"' in page for path in (out / "clips").rglob("*.mp4"))


def test_ctrl_c_drops_the_clip_under_way_and_nothing_half_is_left(pictures, tmp_path, monkeypatch, capsys):
    out, perform, steps = tmp_path / "out", Pipeline.perform, []

    def interrupted(self, step):
        steps.append(step)
        if len(steps) > 3:  # of the second clip
            while not clips(out):
                time.sleep(0.01)
            raise KeyboardInterrupt
        return perform(self, step)

    monkeypatch.setattr(Pipeline, "perform", interrupted)
    assert batch(pictures, "--out", out, *QUICK) == INTERRUPTED
    left = {path.relative_to(out).parts[0] for path in out.rglob("*") if path.is_file()}
    assert left == {"clips", "done", "job.json"} and len(clips(out)) == 1
    monkeypatch.setattr(Pipeline, "perform", perform)
    assert batch(pictures, "--out", out, *QUICK) == OK
    assert len(clips(out)) == 2 and states(out) == ["done", "done", "duplicate"]


def test_the_packages_for_addresses_and_tables_are_optional(pictures, tmp_path, monkeypatch, capsys):
    for name in ("fsspec", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    assert batch("s3://bucket/rows.jsonl", "--out", tmp_path / "out") == REFUSED
    assert "the package fsspec is missing" in capsys.readouterr().err
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    assert batch(tmp_path / "rows.parquet", "--out", tmp_path / "out") == REFUSED
    assert "the package pyarrow is missing" in capsys.readouterr().err


@pytest.mark.long
def test_workers_and_shards_make_the_clips_of_one_process(pictures, tmp_path, one_thread):
    assert batch(pictures, "--out", tmp_path / "here", *QUICK) == OK
    assert batch(pictures, "--out", tmp_path / "workers", *QUICK, "--workers", "2") == OK
    for shard in ("0/3", "1/3", "2/3"):
        assert batch(pictures, "--out", tmp_path / "shards", *QUICK, "--shard", shard) == OK
    assert clips(tmp_path / "here") == clips(tmp_path / "workers") == clips(tmp_path / "shards")


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_the_command_killed_at_its_work_goes_on_to_the_clips_of_an_undisturbed_run(
    workers, pictures, tmp_path, one_thread
):
    """Killed five times, each after at least one clip more; workers then end by themselves."""
    out, moments = tmp_path / "out", random.Random(0)
    words = [pictures / "a.png", "--sweep", "seed=0:80", *QUICK]
    for _ in range(5):
        before = len(clips(out))
        command = [sys.executable, "-m", "stillmotion", "batch", *words, "--out", out, *workers]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        while len(clips(out)) <= before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert 0 < len(clips(out)) < 80
    finished = subprocess.run([*command, "--index"], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == OK, finished.stderr
    undisturbed = subprocess.run([*command[:4], *words, "--out", tmp_path / "undisturbed"], cwd=ROOT)
    assert undisturbed.returncode == OK
    assert len(clips(out)) == 80 and clips(out) == clips(tmp_path / "undisturbed")
    assert not any((out / "attempts").iterdir())
