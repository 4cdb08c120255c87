"""Graphs in API format, for the tests that need the host: built in Python, or from the templates."""

import json
from pathlib import Path

from support.host import ROOT

TEMPLATES = ROOT / "example_workflows"


def files_named(node: dict) -> list[str]:
    """Model files in the widgets of a template's node."""
    files = (".safetensors", ".ckpt")
    return [value for value in node.get("widgets_values", ()) if str(value).endswith(files)]


def read(template: str) -> dict:
    """Reads an example workflow."""
    return json.loads((TEMPLATES / f"{template}.json").read_text(encoding="utf-8"))


def nodes_of(workflow: dict) -> list[dict]:
    """All nodes of a workflow that a prompt has, those inside its subgraphs too; notes are among them."""
    subgraphs = workflow.get("definitions", {}).get("subgraphs", ())
    inside = [node for subgraph in subgraphs for node in subgraph["nodes"]]
    around = {subgraph["id"] for subgraph in subgraphs}
    return [node for node in workflow["nodes"] if node["type"] not in around] + inside


NAMES = sorted(path.stem for path in TEMPLATES.glob("*.json"))
NODE_GRAPHS = [name for name in NAMES if not name.endswith(".app")]
"""Templates that open as a graph; the page opens the others as apps."""
OWN_FILES = {"StillmotionLoadLoRA"}
"""Nodes whose file is a user's own: there is none to offer."""
AT_ONCE = [name for name in NAMES if not any(map(files_named, nodes_of(read(name))))]
"""Templates that need no model file."""


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


STRENGTHS = {"strength": 1.0, "spatial": 1.0, "temporal": 1.0}
"""The defaults of SVD Load LoRA."""


def ksampler(seed: int, steps: int = 2) -> dict:
    """SVD KSampler on the nodes "load" and "prepare", with guidance from 1 to 2.5."""
    return node(
        "StillmotionKSampler",
        model=["load", 0],
        positive=["prepare", 0],
        negative=["prepare", 1],
        latent=["prepare", 2],
        seed=seed,
        sampler="euler",
        shape="linear",
        min_guidance=1.0,
        max_guidance=2.5,
        scales="",
        schedule="karras",
        steps=steps,
        sigma_max=700.0,
        sigma_min=0.002,
        rho=7.0,
        denoise=1.0,
    )


def first_video(seed: int = 1, **changes: dict) -> dict:
    """Builds a graph that loads, conditions, samples, decodes and saves; changes: inputs by node name."""
    graph = {
        "load": node("StillmotionLoadCheckpoint", checkpoint="tiny_svd.safetensors"),
        "image": node("LoadImage", image="rocket.jpg"),
        "prepare": node(
            "StillmotionImageToVideo",
            clip_vision=["load", 1],
            vae=["load", 2],
            image=["image", 0],
            width=128,
            height=64,
            fit="crop",
            frames=4,
            fps=6.0,
            motion_bucket_id=127,
            noise_aug=0.02,
            seed=seed,
        ),
        "sample": ksampler(seed),
        "decode": node("StillmotionDecode", latent=["sample", 0], vae=["load", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="frames"),
    }
    for name, inputs in changes.items():
        if name in graph:
            graph[name]["inputs"] |= inputs
        else:
            graph[name] = inputs
    return graph


def long_video(seed: int = 1, sample: dict | None = None, **changes: dict) -> dict:
    """Builds the graph of first_video with 8 frames by SVD Long Video, in chunks of 4."""
    graph = first_video(seed, **changes)
    inputs = graph["sample"]["inputs"]
    del inputs["denoise"]
    inputs |= {"frames": 8, "long": "chain", "overlap": 2, "match": 1.0, **(sample or {})}
    return graph | {"sample": node("StillmotionLongVideo", **inputs)}


def extended(seed: int = 1, **changes: dict) -> dict:
    """Builds the graph of first_video with SVD Extend twice; changes: inputs of both by "extend"."""
    more = changes.pop("extend", {})
    graph = first_video(seed, **changes)
    inputs = {key: value for key, value in graph["sample"]["inputs"].items() if key != "denoise"}
    inputs |= {"overlap": 2, "match": 1.0, **more}
    graph["first"] = node("StillmotionExtend", **{**inputs, "latent": ["sample", 0]})
    graph["second"] = node("StillmotionExtend", **{**inputs, "latent": ["first", 0]})
    graph["decode"]["inputs"]["latent"] = ["second", 0]
    return graph


def controlled(seed: int = 1, **changes: dict) -> dict:
    """Builds the graph of first_video with a ControlNet on the picture itself."""
    load = node("StillmotionLoadControlNet", control_net="tiny_controlnet.safetensors", weighting="author")
    apply = node(
        "ControlNetApplyAdvanced",
        positive=["prepare", 0],
        negative=["prepare", 1],
        control_net=["control", 0],
        image=["image", 0],
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )
    sample = {"positive": ["apply", 0], "negative": ["apply", 1]} | changes.pop("sample", {})
    return first_video(seed, control=load, apply=apply, sample=sample, **changes)


def with_camera(
    camera: str = "pan_left", checkpoint: str = "tiny_motionctrl_svd.safetensors", seed: int = 5, **more
) -> dict:
    """The first video with a camera of MotionCtrl's; more: inputs of that node."""
    given = {"positive": ["prepare", 0], "negative": ["prepare", 1], "camera": camera, "speed": 2.0}
    return first_video(
        seed=seed,
        load={"checkpoint": checkpoint},
        camera=node("StillmotionCamera", **given | more),
        sample={"positive": ["camera", 0], "negative": ["camera", 1]},
    )


def first_last(seed: int = 1, loop: str = "none", **changes: dict) -> dict:
    """Builds the graph of first_video from a picture to itself upside down, or round a loop."""
    graph = first_video(seed, **changes)
    graph["prepare"]["class_type"] = "StillmotionFirstLastFrame"
    inputs = graph["prepare"]["inputs"]
    inputs |= {"start": inputs.pop("image"), "loop": loop}
    if loop == "none":
        graph["turn"] = node("ImageRotate", image=["image", 0], rotation="180 degrees")
        inputs["end"] = ["turn", 0]
    return graph


def in_cores_ksampler(graph: dict) -> dict:
    """A graph whose SVD KSampler is core's, with one scale for all frames."""
    ours = graph["sample"]["inputs"]
    given = {key: ours[key] for key in ("model", "positive", "negative", "seed", "steps", "denoise")}
    given |= {"latent_image": ours["latent"], "cfg": 2.5, "sampler_name": "euler", "scheduler": "karras"}
    return graph | {"sample": node("KSampler", **given)}


def path_of(template: str) -> Path:
    """Path of the graph of an example workflow."""
    name = template.lower().replace(" ", "_").replace("-", "_")
    return ROOT / "tests" / "host" / "graphs" / f"{name}.json"


def of_template(name: str) -> dict:
    """Builds the graph of an example workflow with its shipped values and the tests' picture."""
    graph = json.loads(path_of(name).read_text(encoding="utf-8"))
    shipped = {str(entry["id"]): entry for entry in nodes_of(read(name))}
    for number, content in graph.items():
        assert shipped[number]["type"] == content["class_type"]
        values = shipped[number].get("widgets_values_named") or {}
        linked = {key for key, value in content["inputs"].items() if isinstance(value, list)}
        settable = {key: values[key] for key in values.keys() & content["inputs"].keys() - linked}
        content["inputs"] |= {key: value for key, value in settable.items() if key != "image"}
    return graph
