"""ComfyUI-Distributed: a graph in API form on two ComfyUIs, each of which makes the clip of another seed.

Runs where that pack is found: by DISTRIBUTED_PATH, or in ~/comfy/ComfyUI-Distributed.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from support import graphs, host
from support.graphs import node
from support.host_pictures import close, frames_of

SEED, FRAMES = 7, 4


@pytest.fixture(scope="module")
def pack():
    found = Path(os.environ.get("DISTRIBUTED_PATH", Path.home() / "comfy" / "ComfyUI-Distributed"))
    if not (found / "distributed.py").is_file():
        pytest.skip("no ComfyUI-Distributed found: set DISTRIBUTED_PATH to a checkout of it")
    return found


@pytest.fixture(scope="module")
def together(pack, tmp_path_factory):
    """A ComfyUI with another as its worker, and their folder."""
    host.require()
    base = host.make_base(tmp_path_factory.mktemp("distributed"))
    copied = base / "custom_nodes" / "ComfyUI-Distributed"  # it keeps its settings in its own folder
    shutil.copytree(pack, copied, ignore=shutil.ignore_patterns(".git"))
    with host.Server(base) as worker:
        port = int(worker.url.rpartition(":")[2])
        of_worker = {"id": "1", "name": "the other", "port": port, "enabled": True, "type": "local"}
        (copied / "gpu_config.json").write_text(json.dumps({"workers": [of_worker]}))
        with host.Server(base) as main:
            yield main, base


def test_each_comfyui_makes_the_clip_of_a_seed_of_its_own(together):
    main, base = together
    expected = [frames_of(base, main.run(graphs.first_video(SEED + number))) for number in range(2)]
    assert not close(*expected)
    shared = graphs.first_video(
        seed=["number", 0],
        number=node("DistributedSeed", seed=SEED),
        collect=node("DistributedCollector", images=["decode", 0], load_balance=False),
        save={"images": ["collect", 0]},
    )
    asked = {"prompt": shared, "client_id": "tests", "enabled_worker_ids": ["1"]}
    answer = main.send("/distributed/queue", asked)
    assert answer.get("worker_count") == 1, answer
    found = frames_of(base, main.wait(answer["prompt_id"]))
    assert len(found) == 2 * FRAMES
    assert close(found[:FRAMES], expected[0])
    assert close(found[FRAMES:], expected[1])
