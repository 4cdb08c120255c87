"""Stores: what stands under a name is whole, whatever fails."""

import os
import time
from datetime import datetime, timedelta, timezone

import pytest

from stillmotion.headless.batch import patience, remote, stores
from stillmotion.headless.batch.drivers import to_do
from stillmotion.headless.batch.outcomes import DONE, SKIPPED, Tally
from stillmotion.headless.batch.record import Past, Record
from stillmotion.headless.batch.rows import Row
from stillmotion.headless.batch.stores import FolderStore, RemoteStore, StoreError, clean, open_store
from stillmotion.headless.batch.work import Terms, Worker, put_clip
from support.batch_jobs import StubJob, clip_of

fsspec = pytest.importorskip("fsspec")
MemoryFileSystem = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No waits between tries, and an empty store in memory."""
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.0)
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(params=["folder", "memory", "whole puts"])
def store(request, tmp_path):
    if request.param == "folder":
        return FolderStore(tmp_path / "out")
    return RemoteStore(MemoryFileSystem(), "/out", whole_puts=request.param == "whole puts")


def test_an_object_is_put_read_listed_and_deleted(store):
    with pytest.raises(FileNotFoundError):
        store.read("done/a.jsonl")
    assert not store.exists("done/a.jsonl") and store.names("done") == []
    store.put("done/a.jsonl", b"one")
    store.put("done/a.jsonl", b"two")
    part = store.parts() / "clip.mp4"
    part.write_bytes(b"clip")
    store.put_file("clips/ab/cd/k.mp4", part)
    assert not part.exists() and store.read("clips/ab/cd/k.mp4") == b"clip"
    assert store.exists("done/a.jsonl") and store.read("done/a.jsonl") == b"two"
    assert store.names("done") == ["done/a.jsonl"]
    store.delete("done/a.jsonl")
    store.delete("done/a.jsonl")
    assert store.names("done") == []


def test_parts_go_when_they_are_a_day_old(store):
    old, new = (store.parts() / name for name in ("old.part", "new.part"))
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - stores.OLD_SECONDS - 60,) * 2)
    clean(store)
    assert not old.exists() and new.exists()
    new.unlink()


def test_parts_at_an_address_go_too_where_the_time_of_a_file_is_known(monkeypatch):
    store = RemoteStore(MemoryFileSystem(), "/out", whole_puts=False)
    for name in ("parts/old.part", "parts/new.part"):
        store.put(name, b"half")
    now = datetime.now(timezone.utc)
    MemoryFileSystem.store["/out/parts/old.part"].modified = now - timedelta(days=1, minutes=1)
    clean(store)
    assert store.names("parts") == ["parts/new.part"]
    monkeypatch.setattr(MemoryFileSystem, "modified", raise_not_implemented)
    clean(store)
    assert store.names("parts") == ["parts/new.part"]


def raise_not_implemented(*_):
    raise NotImplementedError


BREAKS = range(20, 30)
"""Writes that all break off, more than there are tries."""


class BrokenOff(MemoryFileSystem):
    """A file system that breaks off in the middle of some writes, and leaves the first half."""

    writes = 0

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        type(self).writes += 1
        if self.writes % 4 == 0 or self.writes in BREAKS:
            super().pipe_file(path, value[: len(value) // 2])
            raise OSError("broken off")
        super().pipe_file(path, value)


class Failing(MemoryFileSystem):
    """A file system of which each fifth call fails."""

    calls, inside = 0, False

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name not in ("pipe_file", "cat_file", "exists", "rm_file", "mv", "find", "makedirs"):
            return found

        def call(*arguments, **options):
            cls = type(self)
            if cls.inside:  # called by another one
                return found(*arguments, **options)
            cls.calls += 1
            if cls.calls % 5 == 0:
                raise OSError("try later")
            cls.inside = True
            try:
                return found(*arguments, **options)
            finally:
                cls.inside = False

        return call


def rows(tmp_path, count):
    for number in range(count):
        (tmp_path / f"{number}.png").write_text(f"picture {number}")
        yield Row(str(number), f"{number}.png", str(tmp_path / f"{number}.png"))


def run(store, tmp_path, count=12) -> Tally:
    tally, job = Tally(), StubJob()
    tasks = to_do(rows(tmp_path, count), job.fingerprint, (0, 1), Past(store, (0, 1)), tally)
    Worker(job, Record(store, (0, 1), 3), Terms(), tally.add).run(tasks)
    return tally


@pytest.mark.parametrize("system", [Failing, BrokenOff])
def test_a_store_that_fails_now_and_then_has_no_wrong_clip_under_a_key(system, tmp_path):
    store, ends = RemoteStore(system(), "/out", whole_puts=False), 0
    while True:
        try:
            tally = run(store, tmp_path)
            break
        except StoreError:
            ends += 1
    assert tally.states[DONE] + tally.states[SKIPPED] == 12 and (ends > 0) == (system is BrokenOff)
    found = {name: store.read(name) for name in store.names("clips")}
    wanted = {clip_of(f"picture {number}".encode(), {}) for number in range(12)}
    assert len(found) == 12 and set(found.values()) == wanted
    assert run(store, tmp_path).states == {SKIPPED: 12}


def test_a_store_that_always_fails_ends_the_run_and_the_next_one_goes_on(tmp_path, monkeypatch):
    store, move = FolderStore(tmp_path / "out"), os.replace

    def full(source, target):
        if "clips" in str(target) and len(list((tmp_path / "out" / "clips").rglob("*.mp4"))) == 5:
            raise OSError(28, "No space left on device")
        move(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="No space left"):
        run(store, tmp_path)
    assert list(store.parts().iterdir()) == []
    assert not list((tmp_path / "out" / "attempts").iterdir())  # or a full disk would set rows aside
    monkeypatch.setattr(os, "replace", move)
    assert run(store, tmp_path).states == {SKIPPED: 5, DONE: 7}


def test_no_room_for_a_file_that_is_written_is_the_stores_fault_too(tmp_path, monkeypatch):
    store = FolderStore(tmp_path / "out")

    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FolderStore, "parts", full)
    with pytest.raises(StoreError, match="clips can't be written"):
        put_clip(store, "ab" * 32, ".mp4", lambda part: part.touch())


@pytest.mark.parametrize("place", ["folder", "address"])
def test_a_bucket_or_folder_that_is_gone_is_the_stores_fault(place, tmp_path, monkeypatch):
    def gone(*_, **__):
        raise FileNotFoundError("the bucket does not exist")

    store = open_store(str(tmp_path) if place == "folder" else f"memory://gone/{tmp_path.name}")
    if place == "folder":
        monkeypatch.setattr("os.replace", gone)
    else:
        monkeypatch.setattr(store.system, "pipe_file", gone, raising=False)
    with pytest.raises(StoreError, match=r"the store fails at .*the bucket does not exist"):
        store.put("job.json", b"")
    with pytest.raises(FileNotFoundError):
        store.read("job.json")


def test_half_a_file_at_an_object_store_is_no_object(tmp_path):
    """Where puts are whole there is no other name in between."""
    names = []

    class Watched(MemoryFileSystem):
        def pipe_file(self, path, value, mode="overwrite", **kwargs):
            names.append(path)
            super().pipe_file(path, value)

    RemoteStore(Watched(), "/out", whole_puts=True).put("clips/a.mp4", b"a")
    assert names == ["/out/clips/a.mp4"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://key:secret@bucket/out", "holds a user, a password"),
        ("https://host/out?signature=secret", "holds a user, a password"),
        ("simplecache::s3://bucket/out", "chains several"),
        ("s3://bucket/../out", "goes up"),
        ("file:///tmp/out", "is a file of this machine"),
        ("nowhere://bucket/out", "can't be opened"),
    ],
)
def test_addresses_that_are_refused(address, message):
    with pytest.raises(ValueError, match=message) as error:
        open_store(address)
    assert "secret" not in str(error.value)


def test_errors_of_other_kinds_are_failures_of_the_store_in_words(monkeypatch):
    class NoCredentials(Exception):
        pass

    def refuse(*_, **__):
        raise NoCredentials("unable to locate credentials")

    store = open_store("memory://bucket/out")
    monkeypatch.setattr(MemoryFileSystem, "exists", refuse)
    with pytest.raises(StoreError, match="NoCredentials: unable to locate"):
        store.exists("job.json")
    monkeypatch.setattr(MemoryFileSystem, "isdir", refuse)
    with pytest.raises(OSError, match="NoCredentials"):
        remote.is_folder("memory://bucket/in")


def test_a_picture_at_an_address_is_read_again_where_that_fails(monkeypatch):
    MemoryFileSystem().pipe_file("/bucket/a.png", b"x")
    calls, read = [], MemoryFileSystem.open

    def once(self, *arguments, **options):
        calls.append(arguments)
        if len(calls) < patience.TRIES:
            raise OSError("try later")
        return read(self, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "open", once)
    assert remote.read("memory://bucket/a.png", 10) == b"x" and len(calls) == patience.TRIES
    with pytest.raises(ValueError, match="over 0 bytes"):
        remote.read("memory://bucket/a.png", 0)


def test_an_address_is_a_store(tmp_path):
    store = open_store("memory://bucket/out")
    assert run(store, tmp_path).states == {DONE: 12}
    assert len(remote.file_system("memory://bucket")[0].find("/bucket/out/clips")) == 12
