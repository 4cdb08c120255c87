"""The driver on a Ray cluster: the clips of one process, and an end to rows that end their worker.

What needs Ray is skipped where it is not installed; `make test-cluster` installs it.
"""

import asyncio
import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from stillmotion.headless.batch import ray_data
from stillmotion.headless.batch.drivers import Orders, run_here, to_do
from stillmotion.headless.batch.outcomes import DONE, ENDED, REFUSED, SKIPPED, Tally
from stillmotion.headless.batch.ray_data import Pool, connected, find_pool, pool_of, run_ray
from stillmotion.headless.batch.ray_lobby import Lobby
from stillmotion.headless.batch.record import Past
from stillmotion.headless.batch.sources import find_source
from stillmotion.headless.batch.stores import StoreError, open_store
from stillmotion.headless.batch.work import Terms
from support.batch_jobs import StubJob, opened

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster():
    """A Ray of this machine, whose workers find the stub's job."""
    pytest.importorskip("ray.data", reason="Ray is not installed; make test-cluster installs it")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(TESTS), before)))
    try:
        with connected():
            yield
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture
def manifest(tmp_path):
    """Writes a manifest of pictures, each with its own number for its content, and of rows with an id."""

    def write(count, *ids):
        rows = []
        for name in (*range(count), *ids):
            (tmp_path / f"{name}.png").write_text(f"picture {name}")
            rows.append({"image": f"{name}.png", "id": str(name), "guidance": [1.0, 2.5]})
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return str(tmp_path / "rows.jsonl")

    return write


def run(rows, out, pool, *, job=opened, seconds=0.0, report=None, say=lambda _: None, **terms) -> Tally:
    """Runs the stub's job on Ray, or in this process without a pool."""
    tally, orders = Tally(), Orders(partial(job, seconds), str(out), terms=Terms(**terms))
    tasks = to_do(find_source(rows).rows(), "stub", (0, 1), Past(open_store(str(out)), (0, 1)), tally)

    def add(outcome):
        tally.add(outcome)
        if report is not None:
            report(tally)

    if pool is None:
        run_here(StubJob(seconds=seconds), tasks, orders, add)
    else:
        run_ray(pool, tasks, orders, add, say)
    return tally


def clips(out) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "clips").rglob("*") if path.is_file()}


def recorded(out) -> list[str]:
    """States of the lines of the record."""
    lines = [line for path in (out / "done").rglob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted(json.loads(line)["state"] for line in lines)


def left(out) -> set[str]:
    """Folders of a store in which there are files."""
    return {path.relative_to(out).parts[0] for path in out.rglob("*") if path.is_file()}


TWO = Pool(2, 2, 0, 1)


def test_the_clips_of_one_process_and_an_end_to_a_row_that_ends_its_worker(cluster, manifest, tmp_path):
    rows, out = manifest(12, "exits", "refused"), tmp_path / "ray"
    tally = run(rows, out, TWO)
    # Skipped: made by a worker that ended before it said so.
    assert tally.states[DONE] + tally.states[SKIPPED] == 12
    assert (tally.states[ENDED], tally.states[REFUSED], tally.rows) == (1, 1, 14)
    assert len(recorded(out)) == 14 and len(list((out / "attempts").iterdir())) == 3
    run(manifest(12), tmp_path / "here", None)
    assert clips(out) == clips(tmp_path / "here") and len(clips(out)) == 12
    assert not list((out / "parts").iterdir())
    assert run(manifest(12, "exits", "refused"), out, TWO).states == {SKIPPED: 12, ENDED: 1, REFUSED: 1}


def test_a_killed_worker_is_replaced_and_its_rows_come_once(cluster, manifest, tmp_path):
    out = tmp_path / "out"

    def kill(tally):
        if tally.rows == 2:
            os.kill(int((tmp_path / "worker").read_text()), signal.SIGKILL)

    job = partial(noting, str(tmp_path / "worker"))
    tally = run(manifest(10), out, Pool(1, 1, 0, 1), job=job, seconds=0.2, report=kill)
    assert tally.states[DONE] + tally.states[SKIPPED] == 10 == tally.rows
    assert len(clips(out)) == 10 and "attempts" not in left(out)


def noting(file, seconds, _index, _number) -> StubJob:
    """Opens the job, and notes the process that it is in."""
    Path(file).write_text(str(os.getpid()))
    return StubJob(seconds=seconds)


def test_a_stopped_run_leaves_no_mark_and_goes_on_later(cluster, manifest, tmp_path):
    rows, out = manifest(30), tmp_path / "out"

    def stop(tally):
        if tally.rows == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(rows, out, TWO, seconds=0.3, report=stop)
    assert left(out) == {"clips", "done"} and recorded(out) == [DONE] * 3
    assert len(clips(out)) < 30
    tally = run(rows, out, TWO)
    assert tally.states[DONE] + tally.states[SKIPPED] == 30 == len(clips(out))


def refusing(_seconds, _index, _number):
    """A job that can't be opened."""
    raise ValueError("checkpoint is none; name one.")


def test_a_worker_that_cannot_begin_ends_it_with_its_sentence(cluster, manifest, tmp_path):
    with pytest.raises(ValueError, match="checkpoint is none"):
        run(manifest(2), tmp_path / "out", TWO, job=refusing)


def test_a_store_that_fails_ends_it_and_blames_no_row(cluster, manifest, tmp_path):
    rows, out = manifest(3), tmp_path / "out"
    out.mkdir()
    (out / "clips").write_text("a file in the place of a folder")
    with pytest.raises(StoreError, match="clips"):
        run(rows, out, TWO)
    assert "attempts" not in left(out)


def test_what_is_missing_is_said_where_no_worker_comes(cluster, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_data, "PATIENCE", 0.0)
    said = []

    def say(text):
        said.append(text)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(manifest(1), tmp_path / "out", Pool(1, 2, 0.5, 1), say=say)
    assert "asked are 1 to 2 workers with 0.5 GPU and 1 CPU each; the cluster has 0 GPU" in said[0]


def test_the_pool_of_the_cluster(cluster):
    assert find_pool((1, 2), None, None) == Pool(1, 2, 0, max(1, os.cpu_count() // 2))


@pytest.mark.parametrize(
    ("nodes", "asked", "pool"),
    [
        ([{"CPU": 8}], (None, None, None), Pool(1, 1, 0, 8)),
        ([{"CPU": 8}, {"CPU": 4}], ((3, 3), None, None), Pool(3, 3, 0, 4)),
        ([{"CPU": 2}], ((4, 4), None, None), Pool(4, 4, 0, 1)),
        ([{"CPU": 16, "GPU": 4}], (None, None, None), Pool(4, 4, 1, 4)),
        ([{"CPU": 16, "GPU": 4}], (None, 0.5, "cuda"), Pool(8, 8, 0.5, 2)),
        ([{"CPU": 64, "GPU": 2}, {"CPU": 6, "GPU": 2}, {"CPU": 2}], ((1, 9), None, None), Pool(1, 9, 1, 3)),
        ([{"CPU": 16, "GPU": 4}], (None, None, "cpu"), Pool(1, 1, 0, 16)),
        ([{"CPU": 4}], ((1, 50), 1, None), Pool(1, 50, 1, 1)),  # whose GPUs come when they are asked for
    ],
)
def test_workers_have_a_gpu_each_and_their_share_of_the_processors(nodes, asked, pool):
    assert pool_of(nodes, *asked) == pool


def test_the_lobby_counts_who_is_there_and_lets_wait_for_the_end():
    async def meet():
        lobby = Lobby()
        waiting = asyncio.create_task(lobby.stopped())
        for worker in ("a", "b", "c", "a"):  # of which one was restarted
            await lobby.start(worker)
        await lobby.leave("b")
        await lobby.fail("c", "the store fails")
        before = waiting.done()
        await lobby.stop()
        await asyncio.wait_for(waiting, 10)
        return before, await lobby.state()

    assert asyncio.run(meet()) == (False, (4, 1, "", "the store fails"))
