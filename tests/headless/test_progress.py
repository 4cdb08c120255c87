"""Bars on a terminal, silence elsewhere."""

import io
import sys

import pytest

from stillmotion.headless.progress import ProgressBars


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    bars = ProgressBars()
    for stage in ("loading", "sampling"):
        for done in range(4):
            bars(stage, done, 3)
    bars.close()
    return stream.getvalue()


def test_one_bar_for_each_stage(monkeypatch):
    said = run(monkeypatch, Terminal())
    assert "loading: 100%" in said
    assert "sampling: 100%" in said
    assert "3/3" in said


def test_nothing_where_there_is_no_terminal(monkeypatch):
    assert run(monkeypatch, io.StringIO()) == ""


def test_a_stream_that_can_not_say_what_it_is_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", object())
    ProgressBars()("loading", 1, 2)


@pytest.mark.parametrize("times", [1, 2])
def test_closing_is_always_allowed(times):
    bars = ProgressBars()
    for _ in range(times):
        bars.close()
