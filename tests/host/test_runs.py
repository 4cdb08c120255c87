"""What a sampling run remembers, and the feature cache, in a running ComfyUI."""

import numpy as np
import pytest

from support import graphs, host
from support.graphs import node
from support.host_pictures import close, frames_of

STEPS = 6


def video(*chain: dict, **changes) -> dict:
    """The first video in six steps, its calls counted; the chain's nodes stand between loader and sampler."""
    model, between = ["load", 0], {"count": node("TestsCountCalls")}
    between |= {f"between{index}": given for index, given in enumerate(chain)}
    for name, given in between.items():
        given["inputs"]["model"] = model
        model = [name, 0]
    sample = {"steps": STEPS, "model": model} | changes.pop("sample", {})
    return graphs.first_video(**between, sample=sample, **changes)


def cached(interval: int) -> dict:
    return node("StillmotionFeatureCache", interval=interval)


def perturbed() -> dict:
    return node("PerturbedAttentionGuidance", scale=6.0)


@pytest.fixture(scope="module")
def plain(server, base):
    return frames_of(base, server.run(video()))


@pytest.fixture(autouse=True)
def count_from_here(server):
    server.get("/tests/calls")


def test_the_conditioning_is_prepared_once_a_run(server):
    """Both branches are one batch; for another seed, a new run, it is prepared anew."""
    for seed in (101, 102):
        assert host.succeeded(server.run(video(sample={"seed": seed})))
        counted = server.get("/tests/calls")
        assert (counted["prepared"], counted["deep"]) == (1, STEPS)


def test_two_batches_of_a_step_are_remembered_apart(server):
    """Perturbed attention has a pass with the conditional branch alone at every step."""
    assert host.succeeded(server.run(video(perturbed(), sample={"seed": 103})))
    counted = server.get("/tests/calls")
    assert (counted["prepared"], counted["deep"]) == (2, 2 * STEPS)


def test_another_run_forgets_what_the_one_before_prepared(server, base, lora_of_prepared, plain):
    """The same conditioning with other weights, and with the first ones again."""
    loader = node("LoraLoaderModelOnly", lora_name=lora_of_prepared, strength_model=1.0)
    assert not close(frames_of(base, server.run(video(loader))), plain)
    again = video(sample={"rho": 7.00001})  # not from the host's cache
    assert close(frames_of(base, server.run(again)), plain)


def test_a_feature_cache_of_1_is_none(server, base, plain):
    assert close(frames_of(base, server.run(video(cached(1)))), plain)
    assert server.get("/tests/calls")["deep"] == STEPS


def test_a_feature_cache_runs_the_deep_part_at_every_third_step_and_gives_a_near_video(server, base, plain):
    near = frames_of(base, server.run(video(cached(3))))
    assert server.get("/tests/calls")["deep"] == STEPS / 3
    assert not close(near, plain)
    difference = np.abs(near.astype(int) - plain.astype(int)).mean()
    unlike = frames_of(base, server.run(video(sample={"seed": 2})))
    assert difference < np.abs(unlike.astype(int) - plain.astype(int)).mean() / 2


def unguided(*chain: dict) -> dict:
    """In core's KSampler with cfg 1, which leaves the unconditional branch out."""
    graph = video(*chain)
    inputs = {
        key: graph["sample"]["inputs"][key] for key in ("model", "positive", "negative", "seed", "steps")
    }
    inputs |= {"latent_image": ["prepare", 2], "cfg": 1.0, "sampler_name": "euler", "scheduler": "karras"}
    return graph | {"sample": node("KSampler", **inputs, denoise=1.0)}


def test_passes_with_patches_of_their_own_have_features_of_their_own(server, base):
    """Perturbed attention's pass has the conditioning of the conditional branch, and other features.

    With those of the conditional branch the patch would be without effect.
    """

    def run(*chain):
        return frames_of(base, server.run(unguided(*chain))).astype(int)

    without, exact = run(), run(perturbed(), cached(1))
    server.get("/tests/calls")
    near = run(perturbed(), cached(2))
    counted = server.get("/tests/calls")
    assert (counted["prepared"], counted["deep"]) == (1, STEPS)
    assert np.abs(near - exact).mean() < np.abs(near - without).mean()
