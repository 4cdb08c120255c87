"""Other nodes' patches of attention, in a running ComfyUI."""

from dataclasses import replace

import pytest

from stillmotion.svd_model.networks.unet import UNetParams
from support import checkpoints, graphs, host, tiny
from support.graphs import node
from support.host_pictures import close, frames_of

# All levels and blocks of the released UNets, and so their 16 transformers, on as few channels as can be.
NARROW = UNetParams(model_channels=32, channel_mult=(1, 1, 1, 1), head_channels=16, context_dim=64)
FILE = "every_level.safetensors"


def patched(patch: dict | None) -> dict:
    """The first video with a node between the loader and the sampler."""
    graph = graphs.first_video(load={"checkpoint": FILE})
    if patch is not None:
        graph["patch"] = patch
        graph["sample"]["inputs"]["model"] = ["patch", 0]
    return graph


def patch_of_tests(kind: str) -> dict:
    return node(f"Tests{kind}", model=["load", 0])


def of_repeated_tokens(graph: dict) -> dict:
    """The same with every token of the conditioning three times."""
    for index, name in enumerate(("positive", "negative")):
        graph[name] = node("TestsRepeatTokens", conditioning=["prepare", index])
        graph["sample"]["inputs"][name] = [name, 0]
    return graph


@pytest.fixture(scope="module", autouse=True)
def every_level(base):
    """The checkpoint of the UNet."""
    sizes = replace(tiny.SMALL, unet=NARROW)
    checkpoints.write(base / "models" / "checkpoints" / FILE, sizes=sizes)


@pytest.fixture(scope="module")
def plain(server, base, every_level):
    return frames_of(base, server.run(patched(None)))


def test_perturbed_attention_takes_effect_and_at_scale_0_does_not(server, base, plain):
    def run(scale):
        patch = node("PerturbedAttentionGuidance", model=["load", 0], scale=scale)
        return frames_of(base, server.run(patched(patch)))

    assert not close(run(3.0), plain)
    assert close(run(0.0), plain)


def test_patches_that_change_nothing_change_nothing(server, base, plain):
    """In all 16 transformers, of which each knows its name and number; they see one token."""
    server.get("/tests/calls")
    assert close(frames_of(base, server.run(patched(patch_of_tests("PlainAttention")))), plain)
    seen = server.get("/tests/calls")
    names = [["input", n] for n in (1, 2, 4, 5, 7, 8)] + [["middle", 0]]
    names += [["output", n] for n in range(3, 12)]
    assert seen["blocks"][:16] == [[*name, number] for number, name in enumerate(names)]
    assert len(seen["blocks"]) == 2 * 16
    assert set(seen["tokens"]) == {1}


def test_patches_of_cross_attention_see_all_tokens(server, base, plain):
    """Three equal tokens are as one, computed by real attention with and without a patch."""
    server.get("/tests/calls")
    assert close(frames_of(base, server.run(of_repeated_tokens(patched(None)))), plain)
    graph = of_repeated_tokens(patched(patch_of_tests("PlainAttention")))
    assert close(frames_of(base, server.run(graph)), plain)
    assert set(server.get("/tests/calls")["tokens"]) == {3}


def test_what_cross_attention_adds_can_be_patched(server, base, plain):
    """Also in place, and the same at every step: the prepared result stays as it is."""
    doubled = frames_of(base, server.run(patched(patch_of_tests("DoubledCrossAttention"))))
    assert not close(doubled, plain)
    of_three = of_repeated_tokens(patched(patch_of_tests("DoubledCrossAttention")))
    assert close(frames_of(base, server.run(of_three)), doubled)


def test_patches_of_what_is_not_there_are_refused_in_words(server):
    said = host.error_of(server.run(patched(patch_of_tests("OddPatch"))))
    assert "a node patches this model in a way (dit) that Stillmotion's UNet does not offer" in said
