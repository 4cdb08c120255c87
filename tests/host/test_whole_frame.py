"""The CLIP image is the whole frame: what lies outside of its middle square counts, unlike in core's node."""

import json

import numpy as np
import pytest
from PIL import Image

from support import graphs, host
from support.graphs import node


def embedding(server, graph: dict) -> np.ndarray:
    """What the conditioning of the graph's node "prepare" tells the model of the picture."""
    shown = graph | {"show": node("TestsShowEmbedding", conditioning=["prepare", 0])}
    shown = {name: shown[name] for name in shown if name not in ("sample", "decode", "save")}
    entry = server.run(shown)
    assert host.succeeded(entry), host.error_of(entry)
    return np.array(json.loads(entry["outputs"]["show"]["numbers"][0]))


@pytest.fixture(scope="module")
def pictures(base):
    """Two pictures of 128×64 that differ only at their left and right ends, 16 pixels wide."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    names = []
    for name, ends in (("dark.png", 0), ("light.png", 255)):
        pixels[:, :16] = pixels[:, 112:] = ends
        Image.fromarray(pixels).save(base / "input" / name)
        names.append(name)
    return names


def test_the_ends_of_a_wide_picture_are_seen(server, pictures):
    dark, light = (embedding(server, graphs.first_video(image={"image": name})) for name in pictures)
    assert np.abs(dark - light).max() > 0.05 * np.abs(dark).max()


def test_cores_node_does_not_see_them(server, pictures):
    """Or the test above would show nothing."""
    cores = {"clip_vision": ["load", 1], "init_image": ["image", 0], "vae": ["load", 2], "width": 128}
    cores |= {"height": 64, "video_frames": 4, "motion_bucket_id": 127, "fps": 6, "augmentation_level": 0.0}
    prepare = {"prepare": node("SVD_img2vid_Conditioning", **cores)}
    dark, light = (
        embedding(server, graphs.first_video(image={"image": name}) | prepare) for name in pictures
    )
    assert np.abs(dark - light).max() < 1e-6 * np.abs(dark).max()


def test_it_is_what_core_gives_for_the_uncropped_picture(server, pictures):
    """Up to the resizing: core rounds to whole colours."""
    graph = graphs.first_video(image={"image": pictures[0]})
    see = node("CLIPVisionEncode", clip_vision=["load", 1], image=["image", 0], crop="none")
    cores = graphs.first_video(
        image={"image": pictures[0]}, see=see, prepare={"clip_vision_output": ["see", 0]}
    )
    ours, theirs = embedding(server, graph), embedding(server, cores)
    see["inputs"]["crop"] = "center"
    cropped = embedding(server, cores)
    assert np.abs(ours - theirs).max() < 0.2 * np.abs(ours - cropped).max()
