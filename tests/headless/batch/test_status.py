"""A batch's folder is told from one with other files, also while another process begins in it."""

import os
from argparse import Namespace

import pytest

from stillmotion.headless.batch.clips import Common
from stillmotion.headless.batch.record import JOB
from stillmotion.headless.batch.status import job_of, own_store, prepare
from stillmotion.headless.batch.stores import PARTS, FolderStore, open_store

COMMON = Common(Namespace(), {"checkpoint": ["cd" * 32]}, {}, ".mp4", True, "0")
REFUSED = "holds files that are no batch's"


@pytest.mark.parametrize("first", [True, False], ids=["just before", "just after"])
def test_shards_may_begin_in_one_folder_together(first, tmp_path, monkeypatch):
    """Another shard says what its clips depend on, while this one looks at the folder."""
    listed = os.listdir

    def with_another(path):
        if os.fspath(path) != str(tmp_path):
            return listed(path)
        found = listed(path)
        prepare(FolderStore(tmp_path), COMMON)
        return listed(path) if first else found

    monkeypatch.setattr(os, "listdir", with_another)
    assert job_of(own_store(str(tmp_path), "--out", ".mp4"))


def test_a_batch_that_was_ended_before_its_job_stood_goes_on(tmp_path, monkeypatch):
    def ends(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as ended, pytest.raises(KeyboardInterrupt):
        ended.setattr(FolderStore, "_move", ends)
        ended.setattr("pathlib.Path.unlink", ends)
        prepare(open_store(str(tmp_path)), COMMON)
    assert os.listdir(tmp_path) == [PARTS] and len(os.listdir(tmp_path / PARTS)) == 1
    store = own_store(str(tmp_path), "--out", ".mp4")
    assert job_of(store) is None
    prepare(store, COMMON)
    assert job_of(store)["extension"] == ".mp4"


@pytest.mark.parametrize(
    "name", ["a.txt", JOB, PARTS, f"{PARTS}/a.part", f"{PARTS}/{'a' * 32}.mp4", "clips/a.mp4"]
)
def test_other_files_are_no_batchs(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=REFUSED):
        own_store(str(tmp_path), "--out")


@pytest.mark.parametrize("hidden", [".", PARTS])
def test_a_folder_that_can_not_be_looked_into_is_said(hidden, tmp_path, monkeypatch):
    listed = os.listdir

    def refused(path):
        if os.fspath(path) == os.path.normpath(tmp_path / hidden):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    (tmp_path / PARTS).mkdir()
    monkeypatch.setattr(os, "listdir", refused)
    with pytest.raises(ValueError, match=r"--out .* can't be read: .*Permission denied"):
        own_store(str(tmp_path), "--out")
