"""What a run says of itself: a pace, numbers for Prometheus, a page, and the status of a store."""

import io
import json
import re
import socket
import sys
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from stillmotion.headless.batch import progress
from stillmotion.headless.batch.outcomes import DONE, REFUSED, STATES, Outcome, Tally
from stillmotion.headless.batch.progress import Pace, in_words, metrics, served, shown
from stillmotion.headless.batch.record import Record
from stillmotion.headless.batch.status import INDEX, summary, write_index
from stillmotion.headless.batch.stores import FolderStore


def outcome(number, state=DONE, identity=None, key=None) -> Outcome:
    digest, seconds = 2 * f"{number:032x}", {"read": 0.5, "make": 2}
    return Outcome(identity or str(number), digest, state, key or digest, "why", 100, seconds)


def test_the_pace_counts_clips_and_says_the_time_left(monkeypatch):
    clock = iter((100.0, 160.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    tally = Tally(1000)
    pace = Pace(tally)
    for _ in range(500):
        tally.skip(DONE)
    for number in range(10):
        tally.add(outcome(number))
    tally.add(outcome(11, REFUSED))
    assert pace.line() == "511 of 1,000, 10.0 clips a minute, 1 aside, 49 min left"  # 489 at 6 s each


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(12, "12 s"), (119, "2 min"), (3599, "60 min"), (3700, "1 h 2 min"), (50 * 3600, "2 d 2 h")],
)
def test_durations_in_words(seconds, words):
    assert in_words(seconds).replace("1 h 0 min", "60 min") == words


def test_lines_come_while_a_run_goes_on(monkeypatch):
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.01)
    tally, said = Tally(3), []
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # which is no terminal
    with shown(tally, said.append):
        while not said:
            pass
    assert said[0].startswith("0 of 3, 0.0 clips a minute")


def test_on_a_terminal_one_line_lives(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "LIVE_SECONDS", 0.01)
    tally, said = Tally(3), []
    with shown(tally, said.append):
        while "2 of 3" not in terminal.getvalue():
            if tally.rows < 2:
                tally.add(outcome(tally.rows))
    lives = terminal.getvalue().rstrip("\n")
    assert not said and "\n" not in lives and "\r" in lives
    assert re.search(r"2 of 3, [0-9,.]+ clips a minute, 0 s left", lives)


def test_numbers_for_prometheus_are_served_on_this_machine_alone():
    tally = Tally()
    tally.add(outcome(1))
    tally.add(outcome(2, REFUSED))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with served(tally, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/other")
        with pytest.raises(ValueError, match="can't be used"), served(tally, port):
            pass
    assert text == metrics(tally)
    sample = re.compile(r'[a-z_]+(\{[a-z]+="[a-z ]+"\})? [0-9.]+')  # of the text format 0.0.4
    lines = text.splitlines()
    assert all(line.startswith("# TYPE ") or sample.fullmatch(line) for line in lines)
    assert 'stillmotion_rows_total{state="done"} 1' in lines and "stillmotion_bytes_total 200" in lines
    assert 'stillmotion_seconds_total{stage="make"} 4.000' in lines
    assert sum(line.startswith("stillmotion_rows_total") for line in lines) == len(STATES)


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "out")


def test_the_status_counts_each_row_once_in_its_best_state(store):
    record = Record(store, (0, 2), 3)
    for one in (
        outcome(1),
        outcome(2, REFUSED),
        outcome(3, REFUSED),
        outcome(1, "skipped"),
        outcome(3, REFUSED),
    ):
        record.add(one)
    record.flush()
    other = Record(store, (1, 2), 3)
    other.add(outcome(2))
    other.add(replace(outcome(4, "timed out"), reason="\x1b[2Jwhy" + 600 * "!"))
    other.flush()
    other.begin("ab" * 32, 1)
    broken = b'{"digest": 3}\nnothing\n{"digest": "xx", "state": "done"}'
    store.put("done/00000-of-00002/broken.jsonl", broken)
    found = [" ".join(line.split()) for line in summary(store)]
    assert found[:4] == ["rows 4", "done 2", "refused 1", "timed out 1"]
    assert found[4:] == ["under way 1, or cut off", "why", "�[2Jwhy" + 493 * "!"]


def test_the_page_of_clips_escapes_names_and_takes_none_from_outside(store):
    record = Record(store, (0, 1), 3)
    record.add(outcome(1, identity='<script>alert("x")</script>'))
    record.add(outcome(2, key='"><script>'))
    record.add(outcome(3, "duplicate"))
    record.add(outcome(4, REFUSED))
    record.add(outcome(5, identity="half a sign \ud800"))
    record.flush()
    write_index(store, ".webp")
    page = store.read(INDEX).decode()
    assert "<h1>2 clips</h1>" in page and page.count("<img") == 2
    assert "<script" not in page and "&lt;script&gt;" in page and "http" not in page.replace("http-equiv", "")
    assert 'src="clips/00/00/' + 2 * f"{1:032x}" + '.webp"' in page


def test_lines_of_the_record_are_written_as_whole_files(store, monkeypatch):
    monkeypatch.setattr("stillmotion.headless.batch.record.MOST_LINES", 4)
    record = Record(store, (0, 1), 3)
    for number in range(10):
        record.add(outcome(number))
    assert len(store.names("done")) == 2
    record.flush()
    record.flush()
    lines = [json.loads(line) for name in store.names("done") for line in store.read(name).splitlines()]
    assert sorted(int(line["id"]) for line in lines) == list(range(10))
