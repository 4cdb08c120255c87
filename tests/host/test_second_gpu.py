"""SVD Second GPU: equal bytes on two devices, here two names of the CPU; and with one a word to the user."""

import json
import subprocess

import pytest

from support import checkpoints, graphs, host, tiny
from support.graphs import node
from support.host_pictures import close, frames_of

SCRIPT = host.ROOT / "tests" / "host" / "scripts" / "second_gpu.py"
EACH_HAS_A_BRANCH = ("nothing", "a patch", "a feature cache", "guidance")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What came of each change of the MODEL, and what is said."""
    checkout = host.require()
    file = checkpoints.write(tmp_path_factory.mktemp("second") / "tiny_svd.safetensors", sizes=tiny.SMALL)
    command = [checkout.python, SCRIPT, host.ROOT, file]
    run = subprocess.run(command, cwd=checkout.path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("order", ["behind", "in front"])
@pytest.mark.parametrize("change", EACH_HAS_A_BRANCH)
def test_two_devices_have_a_prediction_each_and_make_the_clip_of_one(found, change, order):
    assert found[f"{change}, {order}"] == [True, [3, 3]]


@pytest.mark.parametrize("order", ["behind", "in front"])
@pytest.mark.parametrize("change", ["guidance in an interval", "a feature cache and an interval"])
def test_a_step_without_guidance_is_the_first_ones_alone(found, change, order):
    assert found[f"{change}, {order}"] == [True, [3, 1]]


@pytest.mark.parametrize("order", ["behind", "in front"])
def test_further_predictions_are_the_first_ones(found, order):
    assert found[f"skip guidance, {order}"] == [True, [9, 3]]


def test_with_one_device_the_model_passes_and_the_node_says_so(found):
    assert found["kept"]
    assert found["alone"] == "no second GPU beside cpu: the model samples on it alone, as without this node"


def test_a_device_of_another_kind_is_no_second_one(found):
    """As the one GPU beside a MODEL that a node keeps on the CPU."""
    assert found["other"] == found["alone"]


def test_it_says_where_predictions_are_and_is_not_needed_twice(found):
    assert found["shared"] == "positive predictions on cpu, negative ones on cpu:0"
    assert found["again kept"] and "has a second GPU already" in found["again"]


def test_cores_model_is_refused(found):
    assert found["core's"].startswith("this model is not Stillmotion's, which alone SVD Second GPU copies")


def test_in_a_graph_on_one_device_it_changes_nothing(server, base):
    second = node("StillmotionSecondGPU", model=["load", 0])
    graph = graphs.first_video(second=second, sample={"model": ["second", 0]})
    assert close(frames_of(base, server.run(graph)), frames_of(base, server.run(graphs.first_video())))
