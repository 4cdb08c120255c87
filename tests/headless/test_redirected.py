"""The command where standard output and error are not what a terminal gives."""

import contextlib
import io
import sys

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
    assert err.getvalue().startswith("error: there is no file nowhere.safetensors")


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
