"""Core's nodes for latents between ours: each gives the right video, or a refusal in words."""

import shutil

import numpy as np
import pytest

from support import graphs, host
from support.graphs import node
from support.host_pictures import close, frames_of

FRAMES = 4


def two_videos(**changes: dict) -> dict:
    """The first video twice, of one picture, with other noise: 8 frames in the latent."""
    two = node("RepeatImageBatch", image=["image", 0], amount=2)
    changes["prepare"] = {"image": ["two", 0]} | changes.get("prepare", {})
    return graphs.first_video(seed=301, two=two, **changes)


def through(kind: str, make=two_videos, decode: dict | None = None, **inputs) -> dict:
    """The graph with one of core's nodes between the sampler and SVD Decode."""
    key = next((key for key, value in inputs.items() if value == "sampled"), "samples")
    between = node(kind, **(inputs | {key: ["sample", 0]}))
    return make(between=between, decode={"latent": ["between", 0]} | (decode or {}))


def said(server, graph: dict) -> str:
    entry = server.run(graph)
    assert not host.succeeded(entry)
    return host.error_of(entry)


@pytest.fixture(scope="module")
def both(server, base):
    return frames_of(base, server.run(two_videos()))


@pytest.fixture(scope="module")
def loaded(server, base):
    """Decodes the two videos from a file of core's, which holds their latents and nothing else."""
    save = node("SaveLatent", samples=["sample", 0], filename_prefix="two")
    graph = two_videos() | {"keep": save}
    assert host.succeeded(server.run(graph))
    (saved,) = (base / "output").glob("two_*.latent")
    shutil.move(saved, base / "input" / "two.latent")

    def graph_of(**decode) -> dict:
        return {
            "load": node("StillmotionLoadCheckpoint", checkpoint="tiny_svd.safetensors"),
            "latent": node("LoadLatent", latent="two.latent"),
            "decode": node("StillmotionDecode", latent=["latent", 0], vae=["load", 2], **decode),
            "save": node("SaveImage", images=["decode", 0], filename_prefix="loaded"),
        }

    return graph_of


def test_videos_from_a_file_are_decoded_apart_when_told_their_frames(server, base, both, loaded):
    assert close(frames_of(base, server.run(loaded(frames=FRAMES))), both)
    second = frames_of(base, server.run(loaded(frames=FRAMES, video=2)))
    assert close(second, both[FRAMES:])


def test_videos_from_a_file_are_one_where_nobody_tells(server, base, both, loaded):
    """So that the test above can tell: the temporal layers see across the cut."""
    assert not close(frames_of(base, server.run(loaded())), both)


def test_a_number_of_frames_that_does_not_divide_is_refused(server, loaded):
    expected = "frames is 3; the latent holds 8 frames, no whole number of videos of 3"
    assert expected in said(server, loaded(frames=3))


def test_two_files_joined_are_refused_until_told_their_frames(server, base, both, loaded):
    graph = loaded()
    graph["join"] = node("LatentBatch", samples1=["latent", 0], samples2=["latent", 0])
    graph["decode"]["inputs"]["latent"] = ["join", 0]
    expected = "the latent is joined of 8 and 8 frames, and does not say how many a video has in each part"
    assert expected in said(server, graph)
    graph["decode"]["inputs"]["frames"] = FRAMES
    assert close(frames_of(base, server.run(graph)), np.concatenate([both, both]))


def test_one_whole_video_cut_out(server, base, both):
    graph = through("LatentFromBatch", batch_index=FRAMES, length=FRAMES)
    assert close(frames_of(base, server.run(graph)), both[FRAMES:])


def test_a_cut_across_two_videos_is_refused(server):
    graph = through("LatentFromBatch", batch_index=2, length=FRAMES)
    assert "the latent was cut or put together within a video: its frames are 2, 3, 4, 5" in said(
        server, graph
    )


def test_a_part_of_a_video_is_refused_until_it_is_told_to_be_one(server, base):
    cut = {"batch_index": 0, "length": 3}
    assert "the latent holds 3 frames, no whole number of videos of 4" in said(
        server, through("LatentFromBatch", **cut)
    )
    graph = through("LatentFromBatch", decode={"frames": 3}, **cut)
    assert frames_of(base, server.run(graph)).shape == (3, 64, 128, 3)


def test_repeated_latents(server, base, both):
    repeated = frames_of(base, server.run(through("RepeatLatentBatch", amount=2)))
    assert close(repeated[:8], both) and close(repeated[8:], both)


def test_latents_put_in_a_list_of_whole_videos(server, base, both):
    told = {"decode": {"frames": FRAMES}, "batch_size": FRAMES, "latents": "sampled"}
    assert close(frames_of(base, server.run(through("RebatchLatents", **told))), both)


@pytest.mark.parametrize("size", [3, FRAMES])
def test_latents_put_in_a_list_are_refused_until_told_their_frames(server, size):
    """The list does not say it any more: 3 frames of a video of 4 would be decoded as one of 3."""
    graph = through("RebatchLatents", batch_size=size, latents="sampled")
    expected = f"the latent is frames 0 to {size - 1} of a batch, as from Rebatch Latents, and does not say"
    assert expected in said(server, graph)


@pytest.mark.parametrize("behaviour", ["fixed", "random"])
def test_latents_with_another_behaviour_of_the_seed(server, base, both, behaviour):
    graph = through("LatentBatchSeedBehavior", seed_behavior=behaviour)
    assert close(frames_of(base, server.run(graph)), both)


def joined(frames: int, decode: dict | None = None) -> dict:
    """A video, and one of as many frames after it, by core's LatentBatch."""
    other = graphs.first_video(seed=302, prepare={"frames": frames})
    other = {name: other[name] for name in ("prepare", "sample")}
    for key, source in other["sample"]["inputs"].items():
        if isinstance(source, list) and source[0] == "prepare":
            other["sample"]["inputs"][key] = ["prepare2", source[1]]
    more = {f"{name}2": content for name, content in other.items()}
    join = node("LatentBatch", samples1=["sample", 0], samples2=["sample2", 0])
    return graphs.first_video(seed=301, join=join, decode={"latent": ["join", 0]} | (decode or {}), **more)


def test_joined_videos(server, base):
    first = frames_of(base, server.run(graphs.first_video(seed=301)))
    second = frames_of(base, server.run(graphs.first_video(seed=302)))
    found = frames_of(base, server.run(joined(FRAMES)))
    assert close(found[:FRAMES], first) and close(found[FRAMES:], second)


@pytest.mark.parametrize("frames", [6, 8])
def test_joined_videos_of_other_lengths_are_refused(server, frames):
    """8 frames could be two videos of 4: nothing in the joined latent says so."""
    message = said(server, joined(frames))
    assert "no whole number of videos of 4" in message or "joined of 4 and 8 frames" in message


def test_joined_videos_of_other_lengths_are_decoded_as_told(server, base):
    assert frames_of(base, server.run(joined(8, decode={"frames": 4}))).shape[0] == 12


def test_a_latent_in_the_shape_of_cores_video_models_is_one_video(server, base):
    whole = frames_of(base, server.run(graphs.first_video(seed=301)))
    graph = through("TestsVideoLatent", graphs.first_video, latent="sampled")
    graph["prepare"]["inputs"]["seed"] = graph["sample"]["inputs"]["seed"] = 301
    assert close(frames_of(base, server.run(graph)), whole)


def sampled_from(source: dict, **changes: dict) -> dict:
    return two_videos(between=source, sample={"latent": ["between", 0]}, **changes)


def test_empty_latents_without_a_word_of_videos_are_those_of_the_conditioning(server, base, both):
    """In the sampler, and behind it in the decoder."""
    empty = node("EmptyLatentImage", width=128, height=64, batch_size=2 * FRAMES)
    assert close(frames_of(base, server.run(sampled_from(empty))), both)


def test_latents_of_one_video_for_the_conditioning_of_two_are_refused(server):
    """The second picture's latents would be sampled with the first picture."""
    cut = node("LatentFromBatch", samples=["prepare", 2], batch_index=FRAMES, length=FRAMES)
    assert "the conditioning holds pictures for 8 frames, the latents are 4:" in said(
        server, sampled_from(cut)
    )


def test_a_cut_across_two_videos_is_refused_by_the_sampler(server):
    cut = node("LatentFromBatch", samples=["prepare", 2], batch_index=2, length=FRAMES)
    assert "the latent was cut or put together within a video" in said(server, sampled_from(cut))


def test_latents_of_other_videos_than_the_conditioning_are_refused(server):
    other = graphs.first_video()["prepare"]
    other["inputs"]["frames"] = 2 * FRAMES
    graph = two_videos(other=other, sample={"latent": ["other", 2]})
    expected = "the latent is of videos of 8 frames, the conditioning for videos of 4"
    assert expected in said(server, graph)
