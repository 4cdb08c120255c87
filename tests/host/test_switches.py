"""The host's switches: each one a server of its own, and the same video out of it."""

import re

import numpy as np
import pytest

from support import graphs, host
from support.graphs import node
from support.host_pictures import close, frames_of

EXACT = (
    ("--cache-none",),
    ("--cache-lru", "2"),
    ("--disable-metadata",),
    ("--preview-method", "latent2rgb"),
)
NARROWER = (("--fp8_e4m3fn-unet",), ("--force-fp16",), ("--bf16-unet",))


@pytest.fixture(scope="module")
def plain(server, base):
    return frames_of(base, server.run(graphs.first_video(seed=5)))


@pytest.mark.parametrize("switch", EXACT, ids=" ".join)
def test_the_video_is_the_same(base, plain, switch):
    with host.Server(base, *switch) as other:
        assert close(frames_of(base, other.run(graphs.first_video(seed=5))), plain)


@pytest.mark.parametrize("switch", ["--novram", "--lowvram"])
def test_the_video_is_the_same_where_the_models_are_loaded_in_part(server, base, lora, switch):
    """UNet, VAE and image tower, and a LoRA that is applied at each call; see low_memory_host.py."""
    loader = node("LoraLoaderModelOnly", model=["load", 0], lora_name=lora, strength_model=1.0)
    graph = graphs.first_video(seed=5, lora=loader, sample={"model": ["lora", 0]})
    whole = frames_of(base, server.run(graph))
    with host.Server(base, switch) as other:
        assert close(frames_of(base, other.run(graph)), whole)
        loads = re.findall(
            r"loaded partially; .* ([\d.]+) MB loaded, ([\d.]+) MB offloaded.*: (\d)", other.log
        )
    assert len(loads) >= 3
    assert all((float(loaded) > 0) == (switch == "--lowvram") for loaded, _, _ in loads)
    assert all(float(offloaded) > 0 for _, offloaded, _ in loads)
    if switch == "--novram":  # the half that --lowvram keeps begins with the patched layer
        assert any(patches == "1" for _, _, patches in loads)


@pytest.mark.parametrize("switch", NARROWER, ids=" ".join)
def test_the_video_is_made_with_narrower_numbers(base, plain, switch):
    with host.Server(base, *switch) as other:
        frames = frames_of(base, other.run(graphs.first_video(seed=5)))
    assert frames.shape == plain.shape
    assert np.ptp(frames) > 0


def test_without_custom_nodes_the_host_is_whole(base):
    with host.Server(base, "--disable-all-custom-nodes") as other:
        assert "StillmotionAnimate" not in other.get("/object_info")
        assert "KSampler" in other.get("/object_info")
