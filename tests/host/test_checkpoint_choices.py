"""The order of checkpoints in the loaders: what they can open comes first, and no file is in the way."""

import shutil

import pytest

from support import checkpoints, in_host, tiny

SCRIPT = """
import os, time
import folder_paths
from pack.nodes import loaders
from pack.nodes.loaders import LoadCheckpoint, checkpoint_input
from pack.svd_model.checkpoint.sources import TensorFile

folder = {folder!r}
folder_paths.folder_names_and_paths["checkpoints"] = ([folder], {{".safetensors", ".ckpt"}})
opened = []
plain = TensorFile.open.__func__
TensorFile.open = classmethod(lambda cls, path: opened.append(os.path.basename(path)) or plain(cls, path))

first = checkpoint_input().options
looked_at = sorted(opened)
opened.clear()
again = checkpoint_input().options
looked_at_again = sorted(opened)
os.replace(folder + "/zz_svd.safetensors", folder + "/aa_broken.safetensors")
changed = checkpoint_input().options
print(json.dumps([first, looked_at, again, looked_at_again, changed, sorted(opened)]))
"""


@pytest.fixture(scope="module")
def choices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    svd = checkpoints.write(folder / "zz_svd.safetensors", sizes=tiny.SMALL)
    (folder / "sub").mkdir()
    shutil.copy(svd, folder / "sub" / "sv.safetensors")
    whole = svd.read_bytes()
    (folder / "aa_broken.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "ab_empty.safetensors").write_bytes(b"")
    (folder / "ac_page.safetensors").write_bytes(b"<html>no</html>")
    (folder / "ad_endless.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{" * 100)
    (folder / "ae_nested.safetensors").write_bytes((99).to_bytes(8, "little") + b"[" * 99)
    (folder / "af_pickle.ckpt").write_bytes(b"\x80\x04.")
    (folder / "ag_gone.safetensors").symlink_to(folder / "nowhere")
    (folder / "ah_huge.safetensors").write_bytes((2**27).to_bytes(8, "little") + b"{" + b" " * 2**27)
    return in_host.result_of(SCRIPT.format(folder=str(folder)))


def test_svd_files_come_first_then_the_built_in_model_then_the_rest(choices):
    first, *_ = choices
    assert first[:3] == ["sub/sv.safetensors", "zz_svd.safetensors", "stillmotion-tiny (built in)"]
    assert {name[:2] for name in first[3:]} >= {"aa", "ab", "ac", "ad", "ae", "af", "ah"}
    assert first[3:] == sorted(first[3:])


def test_only_headers_of_a_bearable_length_are_read_and_pickles_are_not(choices):
    """An old .ckpt has no header: it would have to be read whole."""
    looked_at = choices[1]
    assert not {"af_pickle.ckpt", "ah_huge.safetensors", "ad_endless.safetensors"} & set(looked_at)
    assert {"sv.safetensors", "zz_svd.safetensors", "aa_broken.safetensors"} <= set(looked_at)


def test_a_file_is_looked_at_once_until_it_changes(choices):
    first, _, again, looked_at_again, changed, then = choices
    assert again == first and looked_at_again == []
    assert changed[:2] == ["aa_broken.safetensors", "sub/sv.safetensors"]
    assert then == ["aa_broken.safetensors"]


@pytest.mark.parametrize("name", ["LoadCheckpoint", "LoadVAE", "Animate"])
def test_the_nodes_offer_them_in_that_order_and_begin_with_the_first(server, name):
    required = server.get(f"/object_info/Stillmotion{name}")[f"Stillmotion{name}"]["input"]["required"]
    options = required["checkpoint"][1]
    offered = options["options"]
    built_in = offered.index("stillmotion-tiny (built in)")
    assert {f"tiny_{kind}.safetensors" for kind in checkpoints.VECTOR_DIMS} <= set(offered[:built_in])
    assert options.get("default", offered[0]) == offered[0]
