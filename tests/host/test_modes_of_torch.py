"""Modes of torch that another pack has left set: the video is the same."""

import pytest

from support import graphs
from support.graphs import node
from support.host_pictures import frames_of


def in_mode(mode: str, **prepare) -> dict:
    modes = node("TestsSetModes", value=["image", 0], mode=mode)
    return graphs.first_video(modes=modes, prepare={"image": ["modes", 0], **prepare})


@pytest.fixture
def plainly(server):
    """Has the modes plain again after the test."""
    yield
    server.run(in_mode("plain"))


@pytest.mark.usefixtures("plainly")
@pytest.mark.parametrize("sampler", ["euler", "stillmotion euler_ancestral"])
@pytest.mark.parametrize("mode", ["float64", "device", "autocast"])
def test_the_video_is_that_of_a_host_without(server, base, mode, sampler):
    def frames(graph: dict) -> list[bytes]:
        graph["sample"]["inputs"]["sampler"] = sampler
        return [frame.tobytes() for frame in frames_of(base, server.run(graph))]

    assert frames(in_mode(mode)) == frames(in_mode("plain"))
