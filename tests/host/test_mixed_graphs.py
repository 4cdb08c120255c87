"""Our nodes and core's in one graph: LoRA, merging, saving, patches, custom samplers, core's encoders."""

import shutil

import numpy as np
import pytest
from PIL import Image

from support import graphs, host
from support.graphs import node
from support.host_pictures import close, frames_of


@pytest.fixture(scope="module")
def plain(server, base):
    return frames_of(base, server.run(graphs.first_video()))


def with_model(patch: dict) -> dict:
    """The first video with a node between the loader and the sampler."""
    return graphs.first_video(patch=patch, sample={"model": ["patch", 0]})


def custom_advanced(**model) -> dict:
    graph = graphs.first_video(
        guider=node(
            "CFGGuider", model=["load", 0], positive=["prepare", 0], negative=["prepare", 1], cfg=2.0
        ),
        noise=node("RandomNoise", noise_seed=1),
        sigmas=node(
            "StillmotionSchedule", schedule="karras", steps=2, sigma_max=700.0, sigma_min=0.002, rho=7.0
        ),
        solver=node("KSamplerSelect", sampler_name="euler"),
        custom=node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["solver", 0],
            sigmas=["sigmas", 0],
            latent_image=["prepare", 2],
        ),
        decode={"latent": ["custom", 0]},
    )
    del graph["sample"]
    return graph


def test_our_model_in_cores_ksampler(server, base):
    graph = graphs.first_video()
    inputs = {"model": ["load", 0], "positive": ["prepare", 0], "negative": ["prepare", 1], "seed": 1}
    inputs |= {"latent_image": ["prepare", 2], "steps": 2, "cfg": 2.5, "sampler_name": "euler"}
    graph["sample"] = node("KSampler", **inputs, scheduler="karras", denoise=1.0)
    core = frames_of(base, server.run(graph))
    constant = graphs.first_video(sample={"shape": "constant", "max_guidance": 2.5})
    assert close(core, frames_of(base, server.run(constant)))


def test_our_model_in_sampler_custom_advanced(server, base):
    custom = frames_of(base, server.run(custom_advanced()))
    constant = graphs.first_video(sample={"shape": "constant", "max_guidance": 2.0})
    assert close(custom, frames_of(base, server.run(constant)))


def test_a_lora_changes_the_video_and_at_strength_0_does_not(server, base, lora, plain):
    def run(strength):
        patch = node("LoraLoaderModelOnly", model=["load", 0], lora_name=lora, strength_model=strength)
        return frames_of(base, server.run(with_model(patch)))

    assert not close(run(1.0), plain)
    assert close(run(0.0), plain)


def test_a_model_merged_with_itself_is_itself(server, base, plain):
    patch = node("ModelMergeSimple", model1=["load", 0], model2=["load", 0], ratio=0.5)
    assert close(frames_of(base, server.run(with_model(patch))), plain)


def test_a_saved_checkpoint_loads_equal(server, base, plain):
    graph = {
        "load": node("StillmotionLoadCheckpoint", checkpoint="tiny_svd.safetensors"),
        "keep": node(
            "ImageOnlyCheckpointSave",
            model=["load", 0],
            clip_vision=["load", 1],
            vae=["load", 2],
            filename_prefix="kept",
        ),
    }
    entry = server.run(graph)
    assert host.succeeded(entry), host.error_of(entry)
    (saved,) = (base / "output").glob("kept_*.safetensors")
    shutil.move(saved, base / "models" / "checkpoints" / "kept.safetensors")
    again = graphs.first_video(load={"checkpoint": "kept.safetensors"})
    assert close(frames_of(base, server.run(again)), plain)


@pytest.mark.parametrize(
    "patch",
    [
        node("RescaleCFG", model=["load", 0], multiplier=0.7),
        node("FreeU_V2", model=["load", 0], b1=1.3, b2=1.4, s1=0.9, s2=0.2),
    ],
    ids=lambda patch: patch["class_type"],
)
def test_patches_of_the_model_take_effect(server, base, patch):
    graph = custom_advanced()
    unpatched = frames_of(base, server.run(graph))
    graph |= {"patch": patch}
    graph["guider"]["inputs"]["model"] = ["patch", 0]
    assert not close(frames_of(base, server.run(graph)), unpatched)


@pytest.mark.long
def test_a_compiled_model_makes_the_same_video(base):
    """Core's TorchCompileModel with inductor; then with FreeU before it, which must not be forgotten.

    Takes 3 minutes for the tiny UNet with nothing in the compiler's cache: no test of the default run.
    """
    freeu = node("FreeU_V2", model=["load", 0], b1=1.3, b2=1.4, s1=0.9, s2=0.2)
    with host.Server(base) as server:
        for first in ({}, {"freeu": freeu}):
            model = ["freeu", 0] if first else ["load", 0]
            compiled = node("TorchCompileModel", model=model, backend="inductor")
            plain = frames_of(base, server.run(graphs.first_video(**first, sample={"model": model})))
            graphs_before = server.get("/tests/compiled")["graphs"]
            fast = graphs.first_video(**first, compiled=compiled, sample={"model": ["compiled", 0]})
            assert close(frames_of(base, server.run(fast)), plain)
            assert server.get("/tests/compiled")["graphs"] > graphs_before


def encoded_and_decoded(kind: str, **more) -> dict:
    """A picture through one of core's encoder nodes and its VAEDecode with our VAE, one frame."""
    return {
        "load": node("StillmotionLoadCheckpoint", checkpoint="tiny_svd.safetensors"),
        "image": node("LoadImage", image="rocket.jpg"),
        "encode": node(kind, pixels=["image", 0], vae=["load", 2], **more),
        "decode": node("VAEDecode", samples=["encode", 0], vae=["load", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="one"),
    }


def test_cores_encoders_with_our_vae(server, base):
    """Tiles are not needed, and would change the picture: the tiled node encodes as the plain one."""
    plain = frames_of(base, server.run(encoded_and_decoded("VAEEncode")))
    assert plain.shape == (1, 424, 640, 3)
    tiles = {"tile_size": 320, "overlap": 64, "temporal_size": 64, "temporal_overlap": 8}
    assert close(frames_of(base, server.run(encoded_and_decoded("VAEEncodeTiled", **tiles))), plain)


def test_cores_clip_vision_encode_replaces_the_embedding(server, base, plain):
    """A plain picture's embedding gives another video; the picture's own, uncropped, nearly the same."""
    Image.fromarray(np.full((64, 64, 3), 255, np.uint8)).save(base / "input" / "white.png")
    graph = graphs.first_video(
        white=node("LoadImage", image="white.png"),
        see=node("CLIPVisionEncode", clip_vision=["load", 1], image=["white", 0], crop="none"),
        prepare={"clip_vision_output": ["see", 0]},
    )
    assert not close(frames_of(base, server.run(graph)), plain)


def test_our_conditioning_in_cores_ksampler_for_core_guidance(server, base):
    """Core's linear guidance on our model and conditioning is ours, where the maximum is not 1."""
    graph = graphs.first_video(linear=node("VideoLinearCFGGuidance", model=["load", 0], min_cfg=1.0))
    inputs = {"model": ["linear", 0], "positive": ["prepare", 0], "negative": ["prepare", 1], "seed": 1}
    inputs |= {"latent_image": ["prepare", 2], "steps": 2, "cfg": 2.5, "sampler_name": "euler"}
    graph["sample"] = node("KSampler", **inputs, scheduler="karras", denoise=1.0)
    assert close(frames_of(base, server.run(graph)), frames_of(base, server.run(graphs.first_video())))
