"""SVD Extend and SVD Long Video in graphs of a running ComfyUI."""

import numpy as np
import pytest

from support import graphs, host
from support.graphs import node
from support.host_pictures import close, frames_of


@pytest.fixture(scope="module")
def long_clip(server, base):
    return frames_of(base, server.run(graphs.long_video()))


def test_two_extensions_are_one_long_video(server, base, long_clip):
    assert long_clip.shape == (8, 64, 128, 3)
    entry = server.run(graphs.extended())
    assert close(frames_of(base, entry), long_clip)


def test_what_was_sampled_stays_where_the_next_chunk_is_sampled_anew(server, base):
    assert host.succeeded(server.run(graphs.extended(seed=3)))
    again = graphs.extended(seed=3)
    again["second"]["inputs"]["seed"] = 4
    assert {"sample", "first"} <= host.cached_nodes(server.run(again))


def test_a_lora_and_guidance_of_the_models_own_count_in_every_chunk(server, base, lora, long_clip):
    patched = node("LoraLoaderModelOnly", model=["load", 0], lora_name=lora, strength_model=1.0)
    guided = graphs.long_video(guide=guidance(), sample={"model": ["guide", 0], "shape": "the model's own"})
    assert close(frames_of(base, server.run(guided)), long_clip)
    other = frames_of(base, server.run(graphs.long_video(lora=patched, sample={"model": ["lora", 0]})))
    assert np.abs(other[-2:].astype(int) - long_clip[-2:].astype(int)).mean() > 0.5


def guidance() -> dict:
    return node(
        "StillmotionGuidance",
        model=["load", 0],
        shape="linear",
        min_guidance=1.0,
        max_guidance=2.5,
        scales="",
        interval_low=0.0,
        interval_high=1e6,
    )


def core_windows() -> dict:
    windows = {"context_length": 4, "context_overlap": 2, "context_schedule": "standard_static", "dim": 0}
    windows |= {"context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "freenoise": False}
    windows |= {"cond_retain_index_list": "", "split_conds_to_windows": False, "causal_window_fix": True}
    return node("ContextWindowsManual", model=["load", 0], latent_retain_index_list="", **windows)


def core_conditioning() -> dict:
    given = {"clip_vision": ["load", 1], "init_image": ["image", 0], "vae": ["load", 2], "width": 128}
    given |= {"height": 64, "video_frames": 4, "motion_bucket_id": 127, "fps": 6, "augmentation_level": 0.0}
    return node("SVD_img2vid_Conditioning", **given)


def other_nodes() -> dict:
    """Nodes that mistakes connect; the host runs the connected ones alone."""
    controlled = graphs.controlled()
    return {
        "control": controlled["control"],
        "apply": controlled["apply"],
        "guide": guidance(),
        "windows": core_windows(),
        "core": core_conditioning(),
        "batch": node("RepeatImageBatch", image=["image", 0], amount=2),
        "words": node("TestsTextConditioning"),
        "cut": node("LatentFromBatch", samples=["prepare", 2], batch_index=0, length=3),
        "joined": node("LatentBatch", samples1=["prepare", 2], samples2=["cut", 0]),
        "twice": node("RepeatLatentBatch", samples=["prepare", 2], amount=2),
        "between": graphs.first_last(loop="pinned")["prepare"],
        "track": node(
            "StillmotionCamera",
            positive=["prepare", 0],
            negative=["prepare", 1],
            camera="pan_left",
            speed=1.0,
        ),
    }


MISTAKES = {
    "overlap is 4, but a chunk has 4 frames; it must be 1 to 3": {"sample": {"overlap": 4}},
    "of 1 frame, and a chunk needs 2 at least": {"prepare": {"frames": 1}, "sample": {"overlap": 1}},
    "is of a batch of pictures, 8 rows; ": {"prepare": {"image": ["batch", 0]}},
    "the latent holds 2 videos; ": {"sample": {"latent": ["twice", 0]}},
    "sampler is euler_cfg_pp, which follows": {"sample": {"sampler": "euler_cfg_pp"}},
    "this model has Context Windows before it": {"sample": {"model": ["windows", 0]}},
    "this model has a guidance node before it": {"sample": {"model": ["guide", 0]}},
    'shape is "the model\'s own", and this model has none': {"sample": {"shape": "the model's own"}},
    "positive has a ControlNet": {"sample": {"positive": ["apply", 0], "negative": ["apply", 1]}},
    "positive has an end picture or a loop": {"sample": {"positive": ["between", 0]}},
    "positive has a camera of MotionCtrl's": {
        "load": {"checkpoint": "tiny_motionctrl_svd.safetensors"},
        "sample": {"positive": ["track", 0], "negative": ["track", 1]},
    },
    "don't say how many frames SVD ": {"sample": {"positive": ["core", 0], "negative": ["core", 1]}},
    "this model is SV3D": {"load": {"checkpoint": "tiny_sv3d_u.safetensors"}},
    "positive holds no picture to animate": {"sample": {"positive": ["words", 0]}},
    "the latent is missing": {"odd": node("TestsOddLatent", of="none"), "sample": {"latent": ["odd", 0]}},
}


def said(server, graph: dict) -> str:
    """The words of the failing node."""
    entry = server.run(graph)
    assert not host.succeeded(entry)
    return host.error_of(entry)


def changed(mistake: str) -> dict:
    return other_nodes() | MISTAKES[mistake]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_long_video_of_wrong_inputs(server, mistake):
    assert mistake in said(server, graphs.long_video(**changed(mistake)))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_extension_of_wrong_inputs(server, mistake):
    graph = graphs.long_video(**changed(mistake))
    inputs = graph["sample"]["inputs"]
    del inputs["frames"], inputs["long"]
    assert mistake in said(server, graph | {"sample": node("StillmotionExtend", **inputs)})


def test_fewer_frames_than_a_chunk_has(server):
    assert "frames is 3, fewer than the 4 of SVD" in said(server, graphs.long_video(sample={"frames": 3}))


def test_an_extension_of_nothing_sampled_and_of_fewer_frames_than_the_overlap(server):
    graph = graphs.extended()
    graph["first"]["inputs"]["latent"] = ["prepare", 2]
    assert "the latent is empty, as it comes from SVD Image to Video" in said(server, graph)
    graph = graphs.extended(cut=node("LatentFromBatch", samples=["sample", 0], batch_index=0, length=2))
    graph["first"]["inputs"] |= {"latent": ["cut", 0], "overlap": 3}
    assert "the latent holds 2 frames, no whole number of videos of 4" in said(server, graph)


@pytest.mark.parametrize("frames", [0, 10**6])
def test_impossible_numbers_of_frames_never_reach_the_node(server, frames):
    answer = server.post(graphs.long_video(sample={"frames": frames}))
    assert "frames" in str(answer["node_errors"]["sample"]["errors"])
