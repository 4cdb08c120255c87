"""What broken or foreign nodes pass on as IMAGE and LATENT: one sentence, whichever node takes it."""

import pytest

from support import graphs, host
from support.graphs import node


def said(server, graph: dict) -> str:
    entry = server.run(graph)
    assert not host.succeeded(entry)
    return host.error_of(entry)


def encoded(**changes: dict) -> dict:
    """The graph with core's VAE Encode, with our VAE, in the place of the sampler."""
    encode = node("VAEEncode", pixels=["odd", 0], vae=["load", 2])
    return graphs.first_video(encode=encode, decode={"latent": ["encode", 0]}, **changes)


IMAGES = {
    "none": "the image is missing; an IMAGE is pictures (N, height, width, 3 or 4)",
    "list": "the image is a list; an IMAGE is pictures",
    "one": "the image is 64×128×3 of float32; an IMAGE is pictures",
    "bytes": "the image is 2×64×128×3 of uint8; an IMAGE is pictures",
    "five": "the image is 1×2×64×128×3 of float32; an IMAGE is pictures",
    "mask": "the image is 2×64×128 of float32; an IMAGE is pictures",
    "grey": "the image has 1 channels; SVD takes RGB or RGBA",
    "narrow": "the image is 2×64×0×3 of float32; an IMAGE is pictures",
    "empty": "the batch of images is empty; connect at least one picture",
}


@pytest.mark.parametrize("of", IMAGES)
def test_an_image_that_is_none(server, of):
    odd = node("TestsOddImage", of=of)
    assert said(server, graphs.first_video(odd=odd, prepare={"image": ["odd", 0]})).startswith(IMAGES[of])
    assert said(server, encoded(odd=odd)).startswith(IMAGES[of])


def test_a_picture_of_less_than_a_latent(server):
    odd = node("TestsOddImage", of="small")
    expected = "the image is 128×4 pixels; the encoder takes no side under 8: scale it up before."
    assert said(server, encoded(odd=odd)) == expected + "\n"


@pytest.mark.parametrize(
    ("of", "what"),
    [
        ("none", "missing"),
        ("nothing", "missing"),
        ("sound", "1×64×32 of float32"),
        ("no_frames", "0×4×8×16 of float32"),
        ("no_width", "4×4×8×0 of float32"),
    ],
)
@pytest.mark.parametrize("place", ["sample", "decode"])
def test_a_latent_that_is_none(server, place, of, what):
    graph = graphs.first_video(odd=node("TestsOddLatent", of=of), **{place: {"latent": ["odd", 0]}})
    assert said(server, graph).startswith(f"the latent is {what}, as of sound or of another kind of model")


@pytest.mark.parametrize("of", ["sound", "no_frames", "no_width"])
def test_a_latent_that_is_none_in_cores_decode(server, of):
    graph = graphs.first_video(odd=node("TestsOddLatent", of=of))
    graph["decode"] = node("VAEDecode", samples=["odd", 0], vae=["load", 2])
    assert "as of sound or of another kind of model" in said(server, graph)


@pytest.mark.parametrize(
    "empty",
    [
        node("EmptyLatentAudio", seconds=1.0, batch_size=1),
        node("EmptyHunyuanLatentVideo", width=128, height=64, length=13, batch_size=1),
    ],
    ids=lambda empty: empty["class_type"],
)
def test_latents_of_sound_and_of_cores_video_models_in_cores_sampler(server, empty):
    graph = graphs.first_video(empty=empty)
    inputs = {"model": ["load", 0], "positive": ["prepare", 0], "negative": ["prepare", 1], "cfg": 2.5}
    inputs |= {"latent_image": ["empty", 0], "steps": 1, "seed": 1, "sampler_name": "euler", "denoise": 1.0}
    graph["sample"] = node("KSampler", scheduler="karras", **inputs)
    assert "the latents are of another kind of model" in said(server, graph)


@pytest.mark.parametrize("frames", [2, 8])
def test_a_negative_of_other_frames_than_the_positive(server, frames):
    other = graphs.first_video(prepare={"frames": frames})["prepare"]
    graph = graphs.first_video(other=other, sample={"negative": ["other", 1]})
    expected = f"the conditioning is for videos of 4 and of {frames} frames; connect positive and negative"
    assert said(server, graph).startswith(expected)
