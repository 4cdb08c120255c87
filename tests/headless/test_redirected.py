"""The command where standard output and error are not what a terminal gives."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from stillmotion import builtin_model
from stillmotion.headless.command_line import OK, REFUSED, main


class Plain:
    """A stream as programs write it themselves: it takes text, and no more."""

    def __init__(self):
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        """Nothing is kept back."""


def test_a_caller_may_catch_what_is_written():
    """As contextlib.redirect_stdout and notebooks do."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main(["inspect", str(builtin_model.PATH)]) == OK
        assert main(["inspect", "nowhere.safetensors"]) == REFUSED
        with pytest.raises(SystemExit) as ended:
            main(["--version"])
    assert ended.value.code == 0
    assert "verdict      whole" in out.getvalue() and "Stillmotion 0." in out.getvalue()
    assert err.getvalue().startswith("error: nowhere.safetensors: there is no such file")


def test_a_stream_of_the_callers_own_will_do(monkeypatch):
    out, err = Plain(), Plain()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(["inspect", str(builtin_model.PATH)]) == OK
    assert main(["inspect", "nowhere.safetensors"]) == REFUSED
    assert "verdict      whole" in out.text and err.text.startswith("error: ")


def test_there_may_be_no_streams_at_all(monkeypatch):
    """As under pythonw."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["inspect", str(builtin_model.PATH)]) == OK
    assert main(["inspect", "nowhere.safetensors"]) == REFUSED


def test_a_narrow_console_loses_a_letter_and_no_more(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    assert main(["inspect", str(builtin_model.PATH)]) == OK
    assert b"128?128" in narrow.buffer.getvalue()


def test_a_clip_is_written_as_ever(tmp_path, monkeypatch):
    out, err = Plain(), Plain()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "p.png")
    short = ["--frames", "2", "--width", "64", "--height", "64", "--steps", "1", "--fps", "24000/1001"]
    assert main(["animate", str(tmp_path / "p.png"), "--output", str(tmp_path / "o.png"), *short]) == OK
    assert out.text.strip() == str(tmp_path / "o.png")
    assert "built-in model" in err.text


class Failing(Plain):
    """A stream that takes nothing: a full disk, a reader that went away, a file that was closed."""

    def __init__(self, error: Exception):
        super().__init__()
        self._error = error

    def write(self, text: str) -> None:
        raise self._error

    def reconfigure(self, **options) -> None:
        raise self._error


@pytest.mark.parametrize("error", [OSError(28, "full"), BrokenPipeError(32, "gone"), ValueError("closed")])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_takes_nothing_does_not_stop_the_work(tmp_path, monkeypatch, name, error):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "p.png")
    outputs = [word for out in ("a.gif", "b.gif") for word in ("--output", str(tmp_path / out))]
    short = ["--frames", "2", "--width", "64", "--height", "64", "--steps", "1"]
    other = Plain()
    monkeypatch.setattr(sys, "stderr" if name == "stdout" else "stdout", other)
    monkeypatch.setattr(sys, name, Failing(error))
    assert main(["animate", str(tmp_path / "p.png"), *outputs, *short]) == OK
    assert {path.name for path in tmp_path.iterdir()} == {"p.png", "a.gif", "b.gif"}
    assert main(["inspect", "nowhere.safetensors"]) == REFUSED
    said = "standard output can't be written" in other.text
    assert said == (name == "stdout" and not isinstance(error, BrokenPipeError))


def test_a_full_disk_behind_standard_output_is_no_crash_at_the_end(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    command = [sys.executable, "-m", "stillmotion", "inspect", str(builtin_model.PATH)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert done.returncode == OK
    assert done.stderr.count("\n") == 1 and "standard output can't be written (No space left" in done.stderr
