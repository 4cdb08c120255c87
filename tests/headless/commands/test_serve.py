"""The command `serve` with the built-in model, in a process of its own, and what it refuses to begin."""

import json
import os
import signal
import subprocess
import sys

import httpx2
import pytest

from stillmotion.headless.command_line import REFUSED, main
from stillmotion.headless.files.videos import read_metadata
from support.pages import ROOT
from support.serving import parts, picture, until

QUICK = ("--frames", "2", "--width", "64", "--height", "64", "--steps", "1")
TOKEN = "a-token-of-the-test"

WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


def python(code: str, *names: str) -> subprocess.CompletedProcess:
    """Runs code where packages are missing."""
    words = [sys.executable, "-c", WITHOUT.format(names=names) + code]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def test_all_but_the_service_does_without_its_packages():
    code = "import stillmotion.headless, stillmotion.headless.command_line as c; sys.exit(c.main(['serve']))"
    result = python(code, "starlette", "uvicorn", "python_multipart", "anyio", "ray", "fsspec", "pyarrow")
    assert result.returncode == REFUSED, result.stderr
    assert 'pip install "stillmotion[serve]"' in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--host", "0.0.0.0"), "--token-file is needed"),
        (("--host", "::"), "--token-file is needed"),
        (("--host", "example.org"), "--token-file is needed"),
        (("--token-file", "none"), "can't be read"),
        (("--token-file", "tokens"), "16 signs"),
        (("--store", "mine"), "holds files that are no batch's"),
        (("--store", "webm"), "has clips in .webm, new ones are in .mp4"),
        (("--store", "mine/text.txt"), "--store mine/text.txt is no folder"),
        (("--store", "s3://user:hidden@bucket/out"), "holds a user, a password or a query"),
        (("--width", "100"), "width is 100"),
        (("--frames", "100"), "times the checkpoint's own work"),
        (("--workers", "none"), "--workers"),
        (("--queue", "0"), "is not from 1 to"),
        (("--most-work", "nan"), "above 0"),
        (("--timeout", "soon"), "is no duration"),
        (("--port", "70000"), "is not from 0 to"),
        (("--checkpoint", "none.safetensors"), "none.safetensors"),
    ],
)
def test_mistakes_end_it_before_anything_begins(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "text.txt").touch()
    (tmp_path / "tokens").write_text("short\n")
    (tmp_path / "webm").mkdir()
    (tmp_path / "webm" / "job.json").write_text('{"stillmotion": "0", "extension": ".webm"}')
    assert main(["serve", "--port", "0", *words]) == REFUSED
    said = capsys.readouterr().err
    assert message in said and "hidden" not in said


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGTERM to answer")
def test_the_command_serves_clips_and_goes_on_after_its_end(tmp_path):
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    (tmp_path / "tokens").chmod(0o600)
    files = ("--store", str(tmp_path / "out"), "--token-file", str(tmp_path / "tokens"))
    words = ("serve", "--port", "0", *files, *QUICK, "--clips-per-token", "5")
    processes = []

    def started() -> tuple[subprocess.Popen, httpx2.Client]:
        process = subprocess.Popen(
            [sys.executable, "-m", "stillmotion", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        headers = {"authorization": f"Bearer {TOKEN}"}
        return process, httpx2.Client(base_url=process.stdout.readline().strip(), headers=headers, timeout=60)

    def ended(process: subprocess.Popen) -> str:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        return said

    try:
        process, client = started()
        until(lambda: client.get("/readyz").status_code == 200, 60)
        about = client.get("/v1/model").json()
        assert about["settings"]["num_frames"] == 2 and str(ROOT) not in json.dumps(about)
        key = client.post("/v1/clips", files=parts(picture(), seed=1)).json()["id"]
        until(lambda: client.get(f"/v1/clips/{key}").json()["state"] == "done", 60)
        (tmp_path / "clip.mp4").write_bytes(client.get(f"/v1/clips/{key}/clip.mp4").content)
        notes = read_metadata(tmp_path / "clip.mp4")
        assert (notes["key"], notes["seed"], notes["num_frames"]) == (key, 1, 2)
        later = [
            client.post("/v1/clips", files=parts(picture(), seed=seed)).json()["id"] for seed in (2, 3, 4)
        ]
        assert "go on with the next start" in ended(process)
        process, client = started()
        until(lambda: all(client.get(f"/v1/clips/{key}").json()["state"] == "done" for key in later), 60)
        assert "a small one for a first try" in ended(process)
        assert main(["batch", "--out", str(tmp_path / "out"), "--status"]) == 0
    finally:
        for process in processes:
            process.kill()
