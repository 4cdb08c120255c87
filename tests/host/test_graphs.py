"""Every template, as a script would send it, ends in a finished video of the right length and size."""

import json
from pathlib import Path

import pytest

from support import graphs, host
from support.graphs import TEMPLATES
from support.host_pictures import videos_of

LONG = "StillmotionLongVideo"
GRAPHS = sorted((Path(__file__).parent / "graphs").glob("*.json"))


def inputs_of(graph: dict, kind: str) -> dict:
    return next(node["inputs"] for node in graph.values() if node["class_type"] == kind)


def frames_of_clip(graph: dict, usual: int) -> int:
    """Frames of a graph's video: of the long clip, if it makes one."""
    return next((node["inputs"]["frames"] for node in graph.values() if node["class_type"] == LONG), usual)


def test_every_template_has_its_graph_and_its_picture():
    names = {graphs.path_of(path.stem).stem for path in TEMPLATES.glob("*.json")}
    assert names == {path.stem for path in GRAPHS}
    assert {path.stem for path in TEMPLATES.glob("*.jpg")} == {path.stem for path in TEMPLATES.glob("*.json")}


def test_most_templates_run_at_once_and_the_simplest_comes_first():
    names = sorted((path.stem for path in TEMPLATES.glob("*.json")), key=lambda name: int(name.split()[0]))
    assert [name.split()[0] for name in names] == [str(number) for number in range(1, len(names) + 1)]
    assert names[0] == "1 First video" and names[0] in graphs.AT_ONCE
    assert set(names) - set(graphs.AT_ONCE) == {
        "2 First video with SVD-XT",
        "8 SV3D orbit",
        "10 ControlNet",
        "9 Parts of several files",
        "11 MotionCtrl camera",
        "12 LoRA",
        "13 ExVideo",
    }


def test_every_template_is_offered_by_the_host(server):
    (offered,) = (names for names in server.get("/api/workflow_templates").values() if names)
    assert set(offered) == {path.stem for path in TEMPLATES.glob("*.json")}


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_it_runs_to_a_finished_video(server, base, path):
    graph = json.loads(path.read_text(encoding="utf-8"))
    entry = server.run(graph)
    assert host.succeeded(entry), host.error_of(entry)
    made = videos_of(base, entry)
    assert len(made) == sum(node["class_type"] == "SaveVideo" for node in graph.values())
    kinds = {node["class_type"] for node in graph.values()}
    for frames in made:
        if "StillmotionImageToVideo" in kinds:
            prepared = inputs_of(graph, "StillmotionImageToVideo")
            pictures = 2 if "ImageBatch" in kinds else 1
            assert frames[0].shape == (prepared["height"], prepared["width"], 3)
            assert len(frames) == pictures * frames_of_clip(graph, prepared["frames"])
        else:
            assert len(frames) > 1


@pytest.mark.parametrize("name", graphs.AT_ONCE)
def test_it_runs_as_it_is_shipped_without_any_checkpoint(server, base, name):
    """With the values in the template, the steps aside."""
    graph = graphs.of_template(name)
    for node in graph.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 2
        if "checkpoint" in node["inputs"]:
            assert node["inputs"]["checkpoint"] == "stillmotion-tiny (built in)"
    entry = server.run(graph)
    assert host.succeeded(entry), host.error_of(entry)
    for frames in videos_of(base, entry):
        assert frames.shape == (frames_of_clip(graph, 14), 128, 128, 3)


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_it_comes_from_the_cache_the_second_time_and_is_made_anew_for_another_seed(server, path):
    graph = json.loads(path.read_text(encoding="utf-8"))
    assert host.succeeded(server.run(graph))
    assert host.cached_nodes(server.run(graph)) == set(graph)
    seeded = {node for node, content in graph.items() if {"seed", "noise_seed"} & content["inputs"].keys()}
    for node in seeded:
        for name in {"seed", "noise_seed"} & graph[node]["inputs"].keys():
            graph[node]["inputs"][name] += 1
    entry = server.run(graph)
    assert host.succeeded(entry), host.error_of(entry)
    assert seeded and not seeded & host.cached_nodes(entry)
