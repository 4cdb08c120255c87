"""The host's switches: each one a server of its own, and the same video out of it."""

import numpy as np
import pytest

from support import graphs, host
from support.host_pictures import close, frames_of

# --novram and --lowvram can't be given with --cpu, so they wait for a machine with a GPU.
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
