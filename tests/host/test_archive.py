"""What the registry would publish, the tracked files less those of .comfyignore, is a whole pack."""

import shutil
import subprocess

import pytest

from support import graphs, host
from support.host_pictures import frames_of

FOLDER = "any folder name"  # with spaces, under which the host's page finds no templates


def tracked(*options: str) -> set[str]:
    """The paths that git ls-files gives."""
    command = ["git", "ls-files", "-z", *options]
    result = subprocess.run(command, cwd=host.ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip("this tree is no git checkout")
    return set(filter(None, result.stdout.split("\0")))


@pytest.fixture(scope="module")
def unzipped(tmp_path_factory):
    """A base directory with the published files copied to custom_nodes."""
    host.require()
    base = host.make_base(tmp_path_factory.mktemp("archive"), pack_name=FOLDER)
    pack = base / "custom_nodes" / FOLDER
    pack.unlink()
    for name in tracked() - tracked("--cached", "--ignored", "--exclude-from=.comfyignore"):
        (pack / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(host.ROOT / name, pack / name)
    return base


def test_the_published_pack_runs(unzipped):
    assert not (unzipped / "custom_nodes" / FOLDER / "tests").exists()
    with host.Server(unzipped) as server:
        assert server.complaints() == []
        assert frames_of(unzipped, server.run(graphs.first_video())).shape == (4, 64, 128, 3)
        (templates,) = (names for names in server.get("/api/workflow_templates").values() if names)
        assert set(templates) == {path.stem for path in graphs.TEMPLATES.glob("*.json")}
        nodes = server.get("/object_info")
        assert "StillmotionAnimate" in nodes
        checkpoint = nodes["StillmotionLoadCheckpoint"]["input"]["required"]["checkpoint"]
        assert "stillmotion-tiny (built in)" in str(checkpoint)
        built_in = {"checkpoint": "stillmotion-tiny (built in)"}
        assert frames_of(unzipped, server.run(graphs.first_video(load=built_in))).shape == (4, 64, 128, 3)
