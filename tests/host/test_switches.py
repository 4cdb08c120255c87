"""The host's switches: the same video comes out whatever they are, or nearly where numbers become narrower.

Switches that don't exclude each other share a server: a video that is the same under all of them is so under
each of them.
"""

import re

import numpy as np
import pytest
from PIL import Image

from support import graphs, host
from support.graphs import node
from support.host_pictures import close, frames_of

# The weights lie in memory as narrow numbers, and the host widens them at each call: one code for all three.
NARROWER = (
    ("--fp8_e4m3fn-unet",),
    pytest.param(("--force-fp16",), marks=pytest.mark.long),
    pytest.param(("--bf16-unet",), marks=pytest.mark.long),
)


@pytest.fixture(scope="module")
def plain(server, base):
    return frames_of(base, server.run(graphs.first_video(seed=5)))


def test_the_video_is_the_same_with_no_cache_no_metadata_and_previews(switched_server, base, plain):
    """--cache-none, --disable-metadata and --preview-method latent2rgb, which shows in test_previews."""
    for _ in range(2):
        entry = switched_server.run(graphs.first_video(seed=5))
        assert close(frames_of(base, entry), plain)
        assert not host.cached_nodes(entry)
        with Image.open(base / "output" / entry["outputs"]["save"]["images"][0]["filename"]) as picture:
            assert "prompt" not in picture.info


@pytest.fixture(scope="module")
def moved(server, base):
    """A video with a camera of MotionCtrl's."""
    return frames_of(base, server.run(graphs.with_camera()))


def test_a_camera_is_the_same_with_no_cache_no_metadata_and_previews(switched_server, base, moved):
    assert close(frames_of(base, switched_server.run(graphs.with_camera())), moved)


@pytest.fixture(scope="module")
def low_memory_server(base):
    """With --cache-lru, and with --novram, which the host reads at each load and the tests so can change."""
    with host.Server(base, "--novram", "--cache-lru", "2") as running:
        yield running


@pytest.mark.parametrize("switch", ["novram", "lowvram"])
def test_the_video_is_the_same_where_the_models_are_loaded_in_part(
    server, low_memory_server, base, lora, lora_of_diffusers, switch
):
    """UNet, VAE and image tower, and two LoRAs that are applied at each call; see low_memory_host.py."""
    core = node("LoraLoaderModelOnly", model=["load", 0], lora_name=lora, strength_model=1.0)
    ours = node("StillmotionLoadLoRA", model=["core", 0], lora=lora_of_diffusers, **graphs.STRENGTHS)
    graph = graphs.first_video(seed=5, core=core, ours=ours, sample={"model": ["ours", 0]})
    whole = frames_of(base, server.run(graph))
    low_memory_server.freed()
    low_memory_server.send("/tests/switches", {name: name == switch for name in ("novram", "lowvram")})
    before = len(low_memory_server.log)
    assert close(frames_of(base, low_memory_server.run(graph)), whole)
    loads = re.findall(
        r"loaded partially; .* ([\d.]+) MB loaded, ([\d.]+) MB offloaded.*: (\d+)",
        low_memory_server.log[before:],
    )
    assert len(loads) >= 3
    assert all((float(loaded) > 0) == (switch == "lowvram") for loaded, _, _ in loads)
    assert all(float(offloaded) > 0 for _, offloaded, _ in loads)
    assert any(int(patches) > 1 for _, _, patches in loads)


@pytest.mark.parametrize("switch", ["novram", "lowvram"])
def test_a_controlnet_is_loaded_in_part_too(server, low_memory_server, base, switch):
    whole = frames_of(base, server.run(graphs.controlled(seed=5)))
    low_memory_server.freed()
    low_memory_server.send("/tests/switches", {name: name == switch for name in ("novram", "lowvram")})
    assert close(frames_of(base, low_memory_server.run(graphs.controlled(seed=5))), whole)


def test_a_controlnet_is_the_same_with_no_cache_no_metadata_and_previews(switched_server, server, base):
    whole = frames_of(base, server.run(graphs.controlled(seed=5)))
    for _ in range(2):  # the second time its pictures are embedded anew
        assert close(frames_of(base, switched_server.run(graphs.controlled(seed=5))), whole)


@pytest.mark.parametrize("switch", ["novram", "lowvram"])
def test_a_camera_is_the_same_where_the_model_is_loaded_in_part(low_memory_server, base, moved, switch):
    low_memory_server.freed()
    low_memory_server.send("/tests/switches", {name: name == switch for name in ("novram", "lowvram")})
    assert close(frames_of(base, low_memory_server.run(graphs.with_camera())), moved)


@pytest.fixture(scope="module", params=["chain", "windows"])
def long_video(request):
    """The graph of a long clip, made in either way."""
    return graphs.long_video(seed=5, sample={"long": request.param})


def test_a_long_clip_is_the_same_with_no_cache_no_metadata_and_previews(
    switched_server, server, base, long_video
):
    whole = frames_of(base, server.run(long_video))
    assert close(frames_of(base, switched_server.run(long_video)), whole)


@pytest.mark.parametrize("switch", ["novram", "lowvram"])
def test_a_long_clip_is_the_same_where_the_model_is_loaded_in_part(
    low_memory_server, server, base, long_video, switch
):
    whole = frames_of(base, server.run(long_video))
    low_memory_server.freed()
    low_memory_server.send("/tests/switches", {name: name == switch for name in ("novram", "lowvram")})
    assert close(frames_of(base, low_memory_server.run(long_video)), whole)


@pytest.fixture(scope="module")
def between(server, base):
    """A video between two pictures."""
    return frames_of(base, server.run(graphs.first_last(seed=5)))


def test_a_last_frame_is_the_same_with_no_cache_no_metadata_and_previews(switched_server, base, between):
    assert close(frames_of(base, switched_server.run(graphs.first_last(seed=5))), between)


@pytest.mark.parametrize("switch", ["novram", "lowvram"])
def test_a_last_frame_is_the_same_where_the_model_is_loaded_in_part(low_memory_server, base, between, switch):
    low_memory_server.freed()
    low_memory_server.send("/tests/switches", {name: name == switch for name in ("novram", "lowvram")})
    assert close(frames_of(base, low_memory_server.run(graphs.first_last(seed=5))), between)


@pytest.mark.parametrize("switch", NARROWER, ids=" ".join)
def test_the_video_is_near_with_narrower_numbers(server, base, plain, moved, switch):
    with host.Server(base, *switch) as other:
        videos = [frames_of(base, other.run(graphs.first_video(seed=5)))]
        videos.append(frames_of(base, other.run(graphs.with_camera())))
        steered = frames_of(base, other.run(graphs.controlled(seed=5)))
    unlike = [graphs.first_video(seed=6), graphs.with_camera(seed=6)]
    unlike = [frames_of(base, server.run(graph)) for graph in unlike]
    for frames, expected, other in zip(videos, (plain, moved), unlike, strict=True):
        difference = np.abs(frames.astype(int) - expected.astype(int)).mean()
        assert 0 < difference < np.abs(other.astype(int) - expected.astype(int)).mean() / 2
    wanted = frames_of(base, server.run(graphs.controlled(seed=5)))
    assert (
        0
        < np.abs(steered.astype(int) - wanted.astype(int)).mean()
        < np.abs(plain.astype(int) - wanted.astype(int)).mean()
    )


@pytest.mark.long
def test_without_custom_nodes_the_host_is_whole(base):
    """Runs none of our code."""
    with host.Server(base, "--disable-all-custom-nodes") as other:
        assert "StillmotionAnimate" not in other.get("/object_info")
        assert "KSampler" in other.get("/object_info")
