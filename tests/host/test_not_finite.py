"""NaN and infinity: refused where they come in or arise, never a black video with success."""

import pytest
import torch

from stillmotion.svd_model.checkpoint.layouts import released
from support import checkpoints, graphs, host, tiny
from support.graphs import node

NUMBERS = pytest.mark.parametrize("number", [float("nan"), float("inf")], ids=str)


def said(server, graph: dict) -> str:
    entry = server.run(graph)
    assert not host.succeeded(entry)
    return host.error_of(entry)


def spoilt(source: list, number: float, place: str, key: str, **changes: dict) -> dict:
    """The first video with a number that is none in what goes into an input of a node."""
    changes[place] = changes.get(place, {}) | {key: ["spoil", 0]}
    return graphs.first_video(spoil=node("TestsNotFinite", value=source, number=number), **changes)


@NUMBERS
def test_a_picture(server, number):
    graph = spoilt(["image", 0], number, "prepare", "image")
    assert "NaN or infinity in the image; look at the node that made it" in said(server, graph)


def test_a_picture_for_cores_encoder_with_our_vae(server):
    encode = {"encode": node("VAEEncode", pixels=["spoil", 0], vae=["load", 2])}
    graph = spoilt(["image", 0], float("nan"), "decode", "latent", **encode)
    graph["decode"]["inputs"]["latent"] = ["encode", 0]
    assert "NaN or infinity in the pictures to encode" in said(server, graph)


def test_an_embedding(server):
    see = node("CLIPVisionEncode", clip_vision=["load", 1], image=["image", 0], crop="none")
    graph = spoilt(["see", 0], float("nan"), "prepare", "clip_vision_output", see=see)
    assert "NaN or infinity in clip_vision_output" in said(server, graph)


@NUMBERS
def test_latents_to_sample(server, number):
    graph = spoilt(["prepare", 2], number, "sample", "latent")
    assert "NaN or infinity in the latent to sample" in said(server, graph)


@NUMBERS
@pytest.mark.parametrize("decoder", ["ours", "core's"])
def test_latents_to_decode(server, number, decoder):
    graph = spoilt(["sample", 0], number, "decode", "latent")
    if decoder == "core's":
        graph["decode"] = node("VAEDecode", samples=["spoil", 0], vae=["load", 2])
    assert "NaN or infinity in the latents to decode: sampling went wrong, or the file" in said(server, graph)


@pytest.mark.parametrize("sampler", ["euler", "stillmotion euler", "dpmpp_2m"])
def test_sampling_stops_at_the_step_where_it_arises(server, sampler):
    graph = spoilt(["load", 0], float("nan"), "sample", "model", sample={"steps": 4, "sampler": sampler})
    assert "NaN or infinity at step 2 of 4. The checkpoint is damaged or the settings" in said(server, graph)


def test_frames_of_a_damaged_decoder(server, base):
    key = released.FIRST_STAGE + "decoder.conv_out.bias"
    bias = torch.full((3,), torch.nan)
    file = base / "models" / "checkpoints" / "damaged_decoder.safetensors"
    checkpoints.write(file, sizes=tiny.SMALL, **{key: bias})
    loader = node("StillmotionLoadVAE", checkpoint=file.name, decoder="as in the file")
    graph = graphs.first_video(damaged=loader, decode={"vae": ["damaged", 0]})
    assert "NaN in frame 1 of 4: the decoder's weights are damaged" in said(server, graph)


@pytest.mark.parametrize("azimuths", ["nan, 1, 2, 3", "1, 2, inf, 3", "-1e999, 0, 0, 0"])
def test_azimuths(server, azimuths):
    given = {"positive": ["prepare", 0], "negative": ["prepare", 1], "elevation": 0.0, "azimuths": azimuths}
    graph = graphs.first_video(
        load={"checkpoint": "tiny_sv3d_p.safetensors"},
        orbit=node("StillmotionOrbit", **given),
        sample={"positive": ["orbit", 0]},
    )
    assert f"azimuths is {azimuths!r}; it must be numbers with commas between" in said(server, graph)


def test_scales(server):
    graph = graphs.first_video(sample={"shape": "list", "scales": "1, nan, 2, 3"})
    assert "scales is '1, nan, 2, 3'; give a number for each frame" in said(server, graph)
