"""Drivers: one process, several, and shards make equal clips; what ends a process is set aside."""

import json
import multiprocessing
import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from stillmotion.headless.batch import drivers
from stillmotion.headless.batch.drivers import Orders, run_here, run_workers, to_do
from stillmotion.headless.batch.outcomes import DONE, DUPLICATE, ENDED, REFUSED, SKIPPED, TIMED_OUT, Tally
from stillmotion.headless.batch.record import Past, Record, lines
from stillmotion.headless.batch.sources import find_source
from stillmotion.headless.batch.stores import clean, open_store
from stillmotion.headless.batch.work import Terms, digest_of
from support import batch_jobs
from support.batch_jobs import StubJob, clip_of, opened

FORK = multiprocessing.get_context("fork") if os.name == "posix" else None
"""Processes of the stub's job start at once by it, while the product's import all anew."""

forks = pytest.mark.skipif(FORK is None, reason="Windows has no fork, nor a SIGTERM to answer")


@pytest.fixture
def manifest(tmp_path):
    """Writes a manifest of pictures, each with its own number for its content, and of rows with an id."""

    def write(count, *ids):
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        rows = []
        for name in (*range(count), *ids):
            (folder / f"{name}.png").write_text(f"picture {name}")
            rows.append({"image": f"{name}.png", "id": str(name), "seed": 7})
        (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return str(folder / "rows.jsonl")

    return write


def run(manifest, out, *, workers=None, shard=(0, 1), seconds=0.0, attempts=3, **terms) -> Tally:
    """Runs the stub's job, as the command does."""
    tally, orders = Tally(), Orders(partial(opened, seconds), str(out), shard, attempts, Terms(**terms))
    past = Past(open_store(str(out)), shard, orders.terms.again)
    job = StubJob(seconds=seconds)
    tasks = to_do(find_source(manifest).rows(), job.fingerprint, shard, past, tally)
    if workers is None:
        run_here(job, tasks, orders, tally.add)
    else:
        run_workers(workers, tasks, orders, tally.add)
    return tally


def clips(out) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "clips").rglob("*") if path.is_file()}


def expected(count) -> list[bytes]:
    """Content of the clips of a manifest."""
    return sorted(clip_of(f"picture {number}".encode(), {"seed": 7}) for number in range(count))


def no_parts(out) -> bool:
    return not (out / "parts").exists() or not any((out / "parts").iterdir())


def test_one_process_shards_and_workers_give_equal_names_and_bytes(manifest, tmp_path):
    rows = manifest(12)
    assert run(rows, tmp_path / "here").states == {DONE: 12}
    for number in range(3):
        run(rows, tmp_path / "shards", shard=(number, 3))
    assert run(rows, tmp_path / "workers", workers=2).states == {DONE: 12}
    here = clips(tmp_path / "here")
    assert sorted(here.values()) == expected(12)
    assert here == clips(tmp_path / "shards") == clips(tmp_path / "workers")
    assert len(list((tmp_path / "shards" / "done").iterdir())) == 3


def test_shards_part_the_rows_and_each_goes_on_by_its_own_record(manifest, tmp_path):
    rows, out = manifest(40), tmp_path / "out"
    parts = [run(rows, out, shard=(number, 4)).states[DONE] for number in range(4)]
    assert sum(parts) == 40 and min(parts) > 0
    again = [run(rows, out, shard=(number, 4)).states for number in range(4)]
    assert [states[SKIPPED] for states in again] == parts
    assert run(rows, out, shard=(0, 3)).states[DONE] == 0  # other shards know no record, but find the clips


def test_a_row_twice_is_one_row(manifest, tmp_path):
    rows, out = manifest(3), tmp_path / "out"
    lines = Path(rows).read_text()
    Path(rows).write_text(f"{lines}\n{lines}")
    assert run(rows, out, attempts=1).states == {DONE: 3, DUPLICATE: 3}
    assert run(rows, out).states == {SKIPPED: 6}


def test_a_row_whose_picture_another_worker_has_under_way_is_no_suspect(manifest, tmp_path):
    rows, out = manifest(2), tmp_path / "out"
    (tmp_path / "in" / "1.png").write_bytes((tmp_path / "in" / "0.png").read_bytes())
    first, _ = find_source(rows).rows()
    record = Record(open_store(str(out)), (0, 1), 1)
    record.begin(digest_of("stub", first), 1)  # under way elsewhere, or cut off
    assert run(rows, out, attempts=1).states == {ENDED: 1, DONE: 1}


def test_a_picture_twice_is_a_duplicate_and_of_a_lost_record_the_clip_is_found(manifest, tmp_path):
    rows, out = manifest(3), tmp_path / "out"
    (tmp_path / "in" / "2.png").write_bytes((tmp_path / "in" / "1.png").read_bytes())
    assert run(rows, out).states == {DONE: 2, DUPLICATE: 1}
    (record,) = (out / "done").rglob("*.jsonl")
    record.unlink()
    assert run(rows, out).states == {SKIPPED: 2, DUPLICATE: 1}
    assert run(rows, out).states == {SKIPPED: 3}
    (tmp_path / "in" / "1.png").write_text("another picture")
    assert run(rows, out).states == {SKIPPED: 2, DONE: 1}


@forks
def test_a_row_that_exits_its_process_is_set_aside_after_three_attempts(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(drivers.multiprocessing, "get_context", lambda _: FORK)
    rows, out = manifest(4, "exits", "refused"), tmp_path / "out"
    tally = run(rows, out, workers=2)
    assert tally.states[DONE] + tally.states[SKIPPED] == 4  # skipped: made by a worker that then ended
    assert (tally.states[ENDED], tally.states[REFUSED], tally.rows) == (1, 1, 6)
    assert sorted(clips(out).values()) == expected(4)
    reasons = {json.loads(path.read_text())["state"] for path in (out / "aside").iterdir()}
    assert reasons == {ENDED, REFUSED}
    assert len(list((out / "attempts").iterdir())) == 3
    assert run(rows, out).states == {SKIPPED: 4, ENDED: 1, REFUSED: 1}  # and in this process it is not tried


@forks
def test_a_worker_that_can_not_begin_says_why(manifest, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(drivers.multiprocessing, "get_context", lambda _: FORK)
    monkeypatch.setattr(f"{__name__}.opened", _refusing)
    with pytest.raises(ValueError, match=r"^the card is too small\.$"):
        run(manifest(2), tmp_path / "out", workers=2)
    assert "Traceback" not in capfd.readouterr().err


def _refusing(*_):
    raise ValueError("the card is too small.")


@forks
def test_a_worker_that_fails_in_its_last_row_ends(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(drivers.multiprocessing, "get_context", lambda _: FORK)
    assert run(manifest(0, "fails"), tmp_path / "out", workers=1).states == {ENDED: 1}


@forks
def test_a_row_beside_one_that_ends_the_process_is_not_blamed_for_it(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(drivers.multiprocessing, "get_context", lambda _: FORK)
    rows, out = manifest(0, "exits late", "innocent"), tmp_path / "out"
    assert run(rows, out, workers=1, seconds=0.6).states == {DONE: 1, ENDED: 1}


def test_a_clip_beyond_its_time_is_set_aside_and_tried_again_on_demand(manifest, tmp_path):
    rows, out = manifest(2, "waits"), tmp_path / "out"
    assert run(rows, out, timeout=1).states == {DONE: 2, TIMED_OUT: 1}
    assert run(rows, out, timeout=1).states == {SKIPPED: 2, TIMED_OUT: 1}
    assert run(rows, out, timeout=1, again=(TIMED_OUT,)).states == {SKIPPED: 2, TIMED_OUT: 1}
    assert not any((out / "attempts").iterdir())


def test_memory_that_is_never_enough_is_a_refusal_after_three_tries(manifest, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr("stillmotion.headless.batch.work.time.sleep", slept.append)
    tally = run(manifest(1, "memory"), tmp_path / "out")
    assert tally.states == {DONE: 1, REFUSED: 1} and "not enough memory" in tally.reasons[0][1]
    assert len(slept) == 2


def alone(rows, out, workers=None):
    """Runs the job as a command of its own."""
    with drivers.interrupted_by_terminate():
        run(rows, out, workers=workers, seconds=0.04, attempts=100)


def start(rows, out, workers=None):
    """Starts a driver in a process of its own."""
    process = FORK.Process(target=alone, args=(rows, out, workers))
    process.start()
    return process


def check_after_kills(manifest, count, tmp_path, delays, workers=None):
    """Kills a driver after each delay, all of them while it is at work, and has the last one finish."""
    rows, out = manifest(count), tmp_path / "out"
    for delay in delays:
        process = start(rows, out, workers)
        time.sleep(delay)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    alone(rows, out)
    assert sorted(clips(out).values()) == expected(count)
    run(rows, tmp_path / "undisturbed")
    assert clips(out) == clips(tmp_path / "undisturbed")
    recorded = [line["digest"] for line in lines(open_store(str(out)))]
    assert len(recorded) >= len(set(recorded)) == count
    if workers is None:  # one that ends after its driver makes a clip that the next run has, too
        assert len(recorded) == count
    assert not any((out / "attempts").iterdir())
    batch_jobs.age(out / "parts")
    clean(open_store(str(out)))
    assert no_parts(out)


@forks
def test_a_killed_run_goes_on_to_the_clips_of_an_undisturbed_one(manifest, tmp_path):
    check_after_kills(manifest, 20, tmp_path, (0.01, 0.1, 0.2))


@forks
def test_workers_end_with_their_driver(manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(drivers.multiprocessing, "get_context", lambda _: FORK)
    process = start(manifest(200), tmp_path / "out", 2)
    while not (tmp_path / "out" / "clips").exists():
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children()
    process.kill()
    process.join()
    assert len(workers) == 2
    assert psutil.wait_procs(workers, timeout=30)[1] == []


@forks
@pytest.mark.long
@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("seed", range(5))
def test_a_run_killed_twenty_times_goes_on(seed, workers, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(drivers.multiprocessing, "get_context", lambda _: FORK)
    moments = random.Random(seed)
    delays = [moments.uniform(0, 0.12) for _ in range(20)]
    check_after_kills(manifest, 120 if workers else 60, tmp_path, delays, workers)


@forks
def test_a_row_that_ends_the_command_itself_is_set_aside_by_the_fourth_one(manifest, tmp_path):
    """Each of three commands ends in it, and the next one leaves it out."""
    rows, out = manifest(2, "exits"), tmp_path / "out"
    for _ in range(3):
        process = FORK.Process(target=run, args=(rows, out))
        process.start()
        process.join()
        assert process.exitcode == 9
    assert run(rows, out).states[ENDED] == 1
    assert sorted(clips(out).values()) == expected(2)


@forks
def test_a_run_that_a_scheduler_ends_leaves_no_mark_and_keeps_its_record(manifest, tmp_path):
    out = tmp_path / "out"
    process = start(manifest(200), out)
    while not (out / "clips").exists():
        time.sleep(0.01)
    process.terminate()
    process.join()
    assert process.exitcode != 0 and no_parts(out)
    assert not any((out / "attempts").iterdir())
    recorded = [path.read_text().splitlines() for path in (out / "done").rglob("*.jsonl")]
    assert 0 < sum(map(len, recorded)) == len(clips(out)) < 200
