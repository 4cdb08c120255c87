"""Guidance and what else looks at the two predictions: nothing is replaced or starved in silence."""

import pytest

from support import graphs, host
from support.graphs import node
from support.host_pictures import close, frames_of

SCALES = {"shape": "constant", "min_guidance": 1.0, "max_guidance": 1.0, "scales": ""}
BEFORE = {
    "SVD Guidance": node(
        "StillmotionGuidance", model=["load", 0], **SCALES, interval_low=0.0, interval_high=1e6
    ),
    "RescaleCFG": node("RescaleCFG", model=["load", 0], multiplier=0.7),
    "skipped layers": node(
        "SkipLayerGuidanceDiTSimple",
        model=["load", 0],
        double_layers="7",
        single_layers="7",
        start_percent=0.0,
        end_percent=1.0,
    ),
}


def cores_ksampler(model: str, sampler: str = "euler") -> dict:
    inputs = {"model": [model, 0], "positive": ["prepare", 0], "negative": ["prepare", 1], "seed": 1}
    inputs |= {"latent_image": ["prepare", 2], "steps": 4, "cfg": 1.0, "sampler_name": sampler}
    return node("KSampler", **inputs, scheduler="karras", denoise=1.0)


def said(server, graph: dict) -> str:
    entry = server.run(graph)
    assert not host.succeeded(entry)
    return host.error_of(entry)


@pytest.mark.parametrize("before", BEFORE)
def test_guidance_before_ours_is_refused_by_both_nodes(server, before):
    expected = "this model has a guidance node before it, which {} would replace"
    graph = graphs.first_video(before=BEFORE[before], sample={"model": ["before", 0]})
    assert expected.format("SVD KSampler") in said(server, graph)
    again = BEFORE["SVD Guidance"]["inputs"] | {"model": ["before", 0]}
    graph = graphs.first_video(before=BEFORE[before], guide=node("StillmotionGuidance", **again))
    graph["sample"] = cores_ksampler("guide")
    assert expected.format("SVD Guidance") in said(server, graph)


@pytest.mark.parametrize("sampler", ["euler_cfg_pp", "dpmpp_2m_cfg_pp"])
def test_a_sampler_that_takes_the_unconditional_prediction_gets_it_where_all_scales_are_1(
    server, base, sampler
):
    """As in core's KSampler at cfg 1."""
    core = graphs.first_video() | {"sample": cores_ksampler("load", sampler)}
    ours = graphs.first_video(sample=SCALES | {"sampler": sampler, "steps": 4})
    assert close(frames_of(base, server.run(ours)), frames_of(base, server.run(core)))


def test_context_windows_over_something_else_than_frames_are_refused(server):
    windows = {"context_length": 2, "context_overlap": 1, "context_schedule": "standard_static"}
    windows |= {"context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "freenoise": False}
    windows |= {"cond_retain_index_list": "", "split_conds_to_windows": False, "dim": 2}
    windows |= {"latent_retain_index_list": "", "causal_window_fix": False}
    patch = node("ContextWindowsManual", model=["load", 0], **windows)
    message = said(server, graphs.first_video(patch=patch, sample={"model": ["patch", 0]}))
    assert message.startswith(
        "Context Windows has dim 2; the frames of this model are the batch: set dim to 0"
    )
