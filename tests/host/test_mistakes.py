"""Wrong inputs: each one gets a sentence from the node that it is given to."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from support import checkpoints, graphs, host, tiny
from support.graphs import node

OTHER_VAE = node("VAELoader", vae_name="pixel_space")  # three channels, no file needed


def said(server, graph) -> str:
    """What the failing node tells the user."""
    entry = server.run(graph)
    assert not host.succeeded(entry)
    return host.error_of(entry)


def test_a_checkpoint_that_is_not_svd(server, base):
    save_file(
        {"lora_unet.lora_down.weight": torch.zeros(4, 4)},
        base / "models" / "checkpoints" / "lora.safetensors",
    )
    message = said(server, graphs.first_video(load={"checkpoint": "lora.safetensors"}))
    assert "looks like a LoRA, not an SVD checkpoint" in message


def test_latents_of_another_size(server):
    empty = node("EmptyLatentImage", width=64, height=64, batch_size=4)
    message = said(server, graphs.first_video(empty=empty, sample={"latent": ["empty", 0]}))
    assert "give both nodes the same width and height" in message


def test_a_frame_count_that_does_not_divide(server):
    cut = node("LatentFromBatch", samples=["prepare", 2], batch_index=0, length=3)
    message = said(server, graphs.first_video(cut=cut, sample={"latent": ["cut", 0]}))
    assert "the latent holds 3 frames, no whole number of videos of 4" in message


def test_scales_that_do_not_fit_the_frames(server):
    message = said(server, graphs.first_video(sample={"shape": "list", "scales": "1, 2"}))
    assert "give one finite number for each of the 4 frames" in message
    message = said(server, graphs.first_video(sample={"shape": "list", "scales": "one"}))
    assert "scales is 'one'; give a number for each frame, as in 1, 2.5, 3, or points" in message


def test_azimuths_that_do_not_fit_the_frames(server):
    orbit = node(
        "StillmotionOrbit",
        positive=["prepare", 0],
        negative=["prepare", 1],
        elevation=0.0,
        azimuths="1,2",
    )
    message = said(server, graphs.first_video(orbit=orbit, sample={"positive": ["orbit", 0]}))
    assert "azimuths has 2 angles; give one for each of the 4 frames" in message


@pytest.fixture(scope="module")
def other_models(base):
    """A CLIP_VISION with shorter embeddings, and a diffusion model that is no video model."""
    sizes = replace(tiny.SMALL, vision=replace(tiny.SMALL.vision, output_dim=32))
    checkpoints.write(base / "models" / "checkpoints" / "narrow.safetensors", sizes=sizes)
    flux = {"img_in.weight": (128, 64), "txt_in.weight": (128, 64), "vector_in.in_layer.weight": (128, 64)}
    flux["double_blocks.0.img_attn.norm.key_norm.scale"] = (128,)
    folder = base / "models" / "diffusion_models"
    folder.mkdir(exist_ok=True)
    save_file({key: torch.ones(shape) for key, shape in flux.items()}, folder / "flux.safetensors")


def in_cores_ksampler(graph: dict, **inputs) -> dict:
    """The graph with core's KSampler in place of ours."""
    given = {"model": ["load", 0], "positive": ["prepare", 0], "negative": ["prepare", 1], "cfg": 2.5}
    given |= {"latent_image": ["prepare", 2], "steps": 2, "seed": 1, "sampler_name": "euler", "denoise": 1.0}
    return graph | {"sample": node("KSampler", scheduler="karras", **(given | inputs))}


def test_a_vae_of_another_model_for_the_picture(server):
    message = said(server, graphs.first_video(vae=OTHER_VAE, prepare={"vae": ["vae", 0]}))
    assert (
        "vae is another model's: its latents have 3 channels at 1/1 of the size, SVD's have 4 at 1/8"
        in message
    )
    assert "connect the VAE of SVD Load Checkpoint" in message


def test_a_vae_of_another_model_for_the_frames(server):
    message = said(server, graphs.first_video(vae=OTHER_VAE, decode={"vae": ["vae", 0]}))
    assert "this VAE is not Stillmotion's, which alone decodes whole videos" in message


def test_no_clip_vision_in_the_file_that_was_loaded(server):
    graph = graphs.first_video(none=node("TestsNoClipVision"), prepare={"clip_vision": ["none", 0]})
    assert "clip_vision is empty: the file that it was loaded from has no image tower" in said(server, graph)


@pytest.mark.parametrize("sampler", ["ours", "core's"])
def test_a_clip_vision_of_another_model(server, other_models, sampler):
    other = node("StillmotionLoadCheckpoint", checkpoint="narrow.safetensors")
    graph = graphs.first_video(other=other, prepare={"clip_vision": ["other", 1]})
    message = said(server, graph if sampler == "ours" else in_cores_ksampler(graph))
    assert "the picture's CLIP embedding has 32 numbers, this model takes 64" in message
    assert "connect the CLIP_VISION of the model's own checkpoint" in message


def test_an_empty_batch_of_pictures(server):
    graph = graphs.first_video(none=node("TestsNoImages"), prepare={"image": ["none", 0]})
    assert "the batch of images is empty; connect at least one picture" in said(server, graph)


@pytest.mark.parametrize("name", ["positive", "negative"])
def test_conditioning_of_a_text_encoder(server, name):
    words = {
        "words": node("TestsTextConditioning"),
        "zero": node("ConditioningZeroOut", conditioning=["words", 0]),
    }
    expected = f"{name} holds no picture to animate, as if it came from a text encoder; connect {name} of SVD"
    assert expected in said(server, graphs.first_video(**words, sample={name: ["zero", 0]}))
    cores = in_cores_ksampler(graphs.first_video(**words), **{name: ["zero", 0]})
    assert expected in said(server, cores)


@pytest.mark.parametrize("place", ["SVD KSampler", "SVD Guidance"])
def test_a_model_that_is_no_video_model(server, other_models, place):
    flux = node("UNETLoader", unet_name="flux.safetensors", weight_dtype="default")
    graph = graphs.first_video(flux=flux)
    guidance = {"shape": "linear", "min_guidance": 1.0, "max_guidance": 2.5, "scales": ""}
    guidance |= {"interval_low": 0.0, "interval_high": 1e6}
    if place == "SVD KSampler":
        graph["sample"]["inputs"]["model"] = ["flux", 0]
    else:
        graph["guide"] = node("StillmotionGuidance", model=["flux", 0], **guidance)
        graph = in_cores_ksampler(graph, model=["guide", 0])
    message = said(server, graph)
    assert "this model is no video model of SVD's (the host calls it Flux)" in message
    assert "connect one of SVD Load Checkpoint, or core's SVD" in message


def test_latents_of_another_model(server):
    empty = node("EmptySD3LatentImage", width=128, height=64, batch_size=4)
    message = said(server, graphs.first_video(empty=empty, sample={"latent": ["empty", 0]}))
    expected = "the latents are of another kind of model, 16×8×16 numbers each; SVD's are frames of 4"
    assert expected in message


def test_latents_with_another_number_of_frames_than_the_conditioning(server):
    empty = node("EmptyLatentImage", width=128, height=64, batch_size=6)
    message = said(server, graphs.first_video(empty=empty, sample={"latent": ["empty", 0]}))
    assert "the conditioning is for videos of 4 frames, the latents are 6, no whole number" in message


def test_a_feature_cache_for_a_model_that_is_not_ours(server, other_models):
    flux = node("UNETLoader", unet_name="flux.safetensors", weight_dtype="default")
    cache = node("StillmotionFeatureCache", model=["flux", 0], interval=3)
    message = said(server, graphs.first_video(flux=flux, cache=cache, sample={"model": ["cache", 0]}))
    assert "this model is not Stillmotion's, which alone can cache its features" in message


STEERING = {
    "Skip Guidance": {
        "spatial": 2.0,
        "temporal": 0.5,
        "layers": "u0",
        "rescale": 0.7,
        "rescale_over": "clip",
        "interval_low": 0.0,
        "interval_high": 1e6,
    },
    "Temporal Attention": {"sharpness": 1.3},
    "Low Pass": {"share": 0.4, "down_to": 100.0},
}


@pytest.mark.parametrize("name", STEERING)
def test_steered_attention_of_a_model_that_is_not_ours(server, other_models, name):
    """It has no hooks, so nothing would change."""
    flux = node("UNETLoader", unet_name="flux.safetensors", weight_dtype="default")
    steer = node(f"Stillmotion{name.replace(' ', '')}", model=["flux", 0], **STEERING[name])
    message = said(server, graphs.first_video(flux=flux, steer=steer, sample={"model": ["steer", 0]}))
    assert f"this model is not Stillmotion's, and SVD {name} steers no other" in message
