"""The desk over restarts: what waits goes on, what ends the process is refused at last, stores may fail."""

import json
import threading

import pytest

from stillmotion.headless.batch.record import clip_name
from stillmotion.headless.batch.rows import Row
from stillmotion.headless.batch.status import job_of, summary
from stillmotion.headless.batch.stores import FolderStore, StoreError
from stillmotion.headless.serve import desk as desks
from stillmotion.headless.serve.hands import Hands
from stillmotion.headless.serve.limits import Limits, Refusal
from support.serving import StubMaker, clip_of, desk_of, until

PICTURE = b"a picture"
ROW = Row("", "the picture")


@pytest.fixture
def maker():
    return StubMaker()


def ask(desk, maker, row=ROW, client="", stays=True, picture=PICTURE):
    key = maker.key(row, "hash")
    return key, desk.ask(row, key, "hash", picture, client, stays)


def worked(desk, maker):
    """The workers of a desk, started."""
    hands = Hands(desk, [maker])
    hands.start()
    return hands


def files(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_what_waits_and_what_was_under_way_goes_on_after_a_restart(tmp_path, maker):
    maker.gate.clear()
    desk = desk_of(tmp_path)
    hands = worked(desk, maker)
    keys = [ask(desk, maker, Row("", "the picture", settings={"seed": seed}))[0] for seed in (1, 2, 3)]
    until(lambda: desk.running == 1)
    hands.stop()  # as SIGTERM does
    assert not (tmp_path / "attempts").exists() or not list((tmp_path / "attempts").iterdir())
    maker.gate.set()
    again = desk_of(tmp_path)
    assert again.go_on(maker) == 3
    assert [again.state_of(key)["position"] for key in keys] == [1, 2, 3]
    hands = worked(again, maker)
    until(lambda: all(again.state_of(key)["state"] == "done" for key in keys))
    hands.stop()
    names = [name for name in files(tmp_path) if not name.startswith("done/")]
    assert names == sorted(clip_name(key, ".mp4") for key in keys)
    assert list(summary(FolderStore(tmp_path)))[:2] == ["rows         3", "done         3"]
    assert job_of(FolderStore(tmp_path)) is None  # which the command writes


def test_a_clip_that_ended_the_process_three_times_is_refused(tmp_path, maker):
    desk = desk_of(tmp_path)
    key, _ = ask(desk, maker)
    for attempt in (1, 2, 3):
        desk.record.begin(key, attempt)  # and the process ends
    desk = desk_of(tmp_path)
    assert desk.go_on(maker) == 1
    hands = worked(desk, maker)
    state = until(lambda: (state := desk.state_of(key))["state"] == "failed" and state)
    assert "ended the service 3 times" in state["reason"] and not maker.asked
    ask(desk, maker)
    until(lambda: desk.state_of(key)["state"] == "done")  # asked for anew, it is tried anew
    assert not list((tmp_path / "aside").iterdir())
    hands.stop()


def test_orders_of_other_weights_are_refused_and_clips_that_are_there_are_not_made_again(tmp_path, maker):
    desk = desk_of(tmp_path)
    (old, _), (there, _) = ask(desk, maker), ask(desk, maker, Row("", "x", settings={"seed": 5}))
    (tmp_path / clip_name(there, ".mp4")).parent.mkdir(parents=True)
    (tmp_path / clip_name(there, ".mp4")).touch()
    maker.key = lambda row, digest: "0" * 64
    desk = desk_of(tmp_path)
    assert desk.go_on(maker) == 0
    assert "other weights or options" in desk.state_of(old)["reason"]
    assert desk.state_of(there) == {"state": "done"}
    assert not any(name.startswith("queue/") for name in files(tmp_path))


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"key": "../../x", "time": 1}', b'{"key": 5}', b"[" * 100_000, b"\xff"],
    ids=range(7),
)
def test_files_in_the_queue_that_are_no_orders_go(content, tmp_path, maker):
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "x.json").write_bytes(content)
    (tmp_path / "queue" / f"{'0' * 64}.picture").write_bytes(b"cut off before its order was written")
    assert desk_of(tmp_path).go_on(maker) == 0
    assert files(tmp_path) == []


def test_a_store_that_fails_is_no_order_and_the_worker_goes_on(tmp_path, maker, monkeypatch):
    desk = desk_of(tmp_path)
    put, faults = FolderStore.put, []

    def failing(self, name, content):
        if faults and name.startswith(faults[0]):
            raise StoreError("the store fails")
        put(self, name, content)

    monkeypatch.setattr(FolderStore, "put", failing)
    faults.append("queue/")
    with pytest.raises(StoreError):
        ask(desk, maker)
    key = maker.key(ROW, "hash")
    assert desk.state_of(key)["state"] == "failed" and desk.queued == 0
    faults[0] = "attempts/"
    hands = worked(desk, maker)
    ask(desk, maker)
    assert "the store failed" in until(lambda: desk.state_of(key).get("reason"))
    faults.clear()
    until(lambda: not desk.running)
    ask(desk, maker)
    until(lambda: desk.state_of(key)["state"] == "done")
    hands.stop()


def test_a_clip_that_is_made_has_not_failed_with_its_record(tmp_path, maker, monkeypatch):
    desk = desk_of(tmp_path)

    def failing(*_):
        raise StoreError("the store fails")

    monkeypatch.setattr(desk.record, "add", failing)
    monkeypatch.setattr(desk.record, "end", failing)
    key, ticket = ask(desk, maker)
    hands = worked(desk, maker)
    until(lambda: ticket.over)
    ask(desk, maker, Row("", "x", settings={"seed": 13}))  # which is refused, after the other is settled
    until(lambda: desk.counts.states["refused"] and not desk.running)
    assert (ticket.state, ticket.reason, desk.state_of(key)["state"]) == ("done", "", "done")
    hands.stop()


def test_who_leaves_a_clip_may_ask_for_another_before_it_has_ended(tmp_path, maker):
    desk = desk_of(tmp_path)  # without workers, as if the step were long
    _, ticket = ask(desk, maker, client="me", stays=False)
    assert desk.next() is ticket
    another = Row("", "x", settings={"seed": 5})
    with pytest.raises(Refusal, match="not made yet"):
        ask(desk, maker, another, client="me")
    desk.leave(ticket)
    ask(desk, maker, another, client="me")


def test_a_clip_that_nobody_watches_is_cancelled_unless_it_was_asked_to_stay(tmp_path, maker):
    maker.gate.clear()
    desk = desk_of(tmp_path)
    hands = worked(desk, maker)
    key, ticket = ask(desk, maker, stays=False)
    until(lambda: desk.running)
    _, same = ask(desk, maker, stays=False)
    assert same is ticket
    desk.leave(ticket)
    assert not ticket.cancelled.is_set()
    desk.leave(ticket)
    until(lambda: desk.state_of(key)["state"] == "cancelled", 2)
    _, ticket = ask(desk, maker, stays=False)
    ask(desk, maker, stays=True)
    desk.leave(ticket)
    maker.gate.set()
    until(lambda: desk.state_of(key)["state"] == "done")
    hands.stop()


def test_a_clip_that_another_service_made_meanwhile_is_not_made_again(tmp_path, maker):
    desk = desk_of(tmp_path)
    key, _ = ask(desk, maker)
    desk.store.put(clip_name(key, ".mp4"), b"another's")
    hands = worked(desk, maker)
    until(lambda: desk.state_of(key)["state"] == "done")
    hands.stop()
    assert not maker.asked and (tmp_path / clip_name(key, ".mp4")).read_bytes() == b"another's"
    assert not any(name.startswith(("queue/", "attempts/")) for name in files(tmp_path))


def test_a_step_that_is_longer_than_the_end_is_no_attempt_that_ended_the_process(
    tmp_path, maker, monkeypatch
):
    monkeypatch.setattr("stillmotion.headless.serve.hands.PATIENCE", 0.05)
    end = threading.Event()
    maker.make = lambda *_: end.wait(20) and (lambda path: path.touch())
    desk = desk_of(tmp_path)
    hands = worked(desk, maker)
    key, _ = ask(desk, maker)
    until(lambda: desk.running)
    until(lambda: (tmp_path / "attempts" / f"{key}.1").exists())
    hands.stop()
    assert not list((tmp_path / "attempts").iterdir()) and (tmp_path / "queue" / f"{key}.json").exists()
    end.set()
    until(lambda: not desk.running)


def test_a_service_that_ends_takes_no_orders(tmp_path, maker):
    desk = desk_of(tmp_path)
    desk.close()
    with pytest.raises(Refusal, match="is ending"):
        ask(desk, maker)


def test_a_hundred_orders_leave_nothing_behind(tmp_path, maker, monkeypatch):
    monkeypatch.setattr(desks, "MOST_RECENT", 10)
    desk = desk_of(tmp_path, Limits(queue=10**6))
    for seed in range(100):
        _, ticket = ask(desk, maker, Row("", "x", settings={"seed": seed}))
        desk.cancel(ticket.key, "")
    until(lambda: desk.counts.cancelled == 100)
    assert (len(desk._tickets), len(desk._waiting), len(desk._recent)) == (0, 0, 10)
    assert files(tmp_path) == []


def test_the_clip_in_the_store_is_the_makers(tmp_path, maker):
    desk = desk_of(tmp_path)
    hands = worked(desk, maker)
    key, _ = ask(desk, maker)
    until(lambda: desk.has_clip(key))
    hands.stop()
    assert (tmp_path / clip_name(key, ".mp4")).read_bytes() == clip_of(PICTURE)
    line = json.loads(next((tmp_path / "done").rglob("*.jsonl")).read_text())
    assert line["state"] == "done" and line["key"] == key
