"""Our nodes and core's in one graph: LoRA, merging, saving, patches, custom samplers, core's encoders.

With a tiny checkpoint of random weights, and with the shipped model where that shows more and takes little.
"""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from stillmotion import builtin_model
from stillmotion.svd_model.checkpoint import Checkpoint
from support import graphs, host
from support.graphs import node
from support.host_pictures import close, frames_of

RANDOM = "tiny_svd.safetensors"


def video(file: str, **changes: dict) -> dict:
    """The first video by that file's model."""
    return graphs.first_video(load={"checkpoint": file}, **changes)


@pytest.fixture(scope="module")
def plain(server, base, file):
    return frames_of(base, server.run(video(file)))


def with_model(file: str, patch: dict) -> dict:
    """The first video with a node between the loader and the sampler."""
    return video(file, patch=patch, sample={"model": ["patch", 0]})


def custom_advanced(file: str) -> dict:
    graph = video(
        file,
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


def cores_ksampler(model: str = "load") -> dict:
    inputs = {"model": [model, 0], "positive": ["prepare", 0], "negative": ["prepare", 1], "seed": 1}
    inputs |= {"latent_image": ["prepare", 2], "steps": 2, "cfg": 2.5, "sampler_name": "euler"}
    return node("KSampler", **inputs, scheduler="karras", denoise=1.0)


def test_our_model_in_cores_ksampler(server, base, file):
    core = frames_of(base, server.run(video(file) | {"sample": cores_ksampler()}))
    constant = video(file, sample={"shape": "constant", "max_guidance": 2.5})
    assert close(core, frames_of(base, server.run(constant)))


def test_our_model_in_sampler_custom_advanced(server, base, file):
    custom = frames_of(base, server.run(custom_advanced(file)))
    constant = video(file, sample={"shape": "constant", "max_guidance": 2.0})
    assert close(custom, frames_of(base, server.run(constant)))


def test_a_lora_changes_the_video_and_at_strength_0_does_not(server, base, file, lora_of_file, plain):
    def run(strength):
        loader = {"model": ["load", 0], "lora_name": lora_of_file, "strength_model": strength}
        return frames_of(base, server.run(with_model(file, node("LoraLoaderModelOnly", **loader))))

    assert not close(run(1.0), plain)
    assert close(run(0.0), plain)


def test_a_model_merged_with_itself_is_itself(server, base, file, plain):
    patch = node("ModelMergeSimple", model1=["load", 0], model2=["load", 0], ratio=0.5)
    assert close(frames_of(base, server.run(with_model(file, patch))), plain)


def test_a_saved_checkpoint_loads_equal(server, base, file, plain):
    """And says of itself what the file said that it was made of."""
    prefix = f"kept_{file.split()[0]}"
    parts = {"model": ["load", 0], "clip_vision": ["load", 1], "vae": ["load", 2]}
    graph = {
        "load": node("StillmotionLoadCheckpoint", checkpoint=file),
        "keep": node("ImageOnlyCheckpointSave", **parts, filename_prefix=prefix),
    }
    entry = server.run(graph)
    assert host.succeeded(entry), host.error_of(entry)
    (saved,) = (base / "output").glob(f"{prefix}_*.safetensors")
    kept = base / "models" / "checkpoints" / f"{prefix}.safetensors"
    shutil.move(saved, kept)
    assert close(frames_of(base, server.run(video(kept.name))), plain)
    of_file = base / "models" / "checkpoints" / file
    original = builtin_model.load() if file == builtin_model.NAME else Checkpoint.open(of_file)
    again = Checkpoint.open(kept)
    assert again.variant == original.variant
    assert [network.params for network in again.networks] == [n.params for n in original.networks]
    assert (again.latent_colours is None) == (original.latent_colours is None)
    assert again.complete
    assert again.unexpected() == []


@pytest.mark.parametrize(
    "patch",
    [
        node("RescaleCFG", model=["load", 0], multiplier=0.7),
        node("FreeU_V2", model=["load", 0], b1=1.3, b2=1.4, s1=0.9, s2=0.2),
    ],
    ids=lambda patch: patch["class_type"],
)
def test_patches_of_the_model_take_effect(server, base, patch):
    """FreeU counts channels, and finds none that it knows in the shipped model."""
    graph = custom_advanced(RANDOM)
    unpatched = frames_of(base, server.run(graph))
    graph |= {"patch": patch}
    graph["guider"]["inputs"]["model"] = ["patch", 0]
    assert not close(frames_of(base, server.run(graph)), unpatched)


def test_cores_choice_of_attention_is_ours(server, base, file, plain):
    """Core's node overrides attention, here with the backend that the host has chosen itself."""
    patch = node("ModelAttentionBackend", model=["load", 0], attention="pytorch attention")
    assert close(frames_of(base, server.run(with_model(file, patch))), plain)


def test_easycache_leaves_out_steps(server, base, file):
    """Its report in the host's log; with a threshold of 0 it leaves out none."""
    for threshold, some in ((1.0, True), (0.0, False)):
        cache = {"reuse_threshold": threshold, "start_percent": 0.0, "end_percent": 1.0, "verbose": False}
        graph = with_model(file, node("EasyCache", model=["load", 0], **cache))
        graph["sample"]["inputs"]["steps"] = 6
        before = len(server.log)
        frames_of(base, server.run(graph))
        (skipped,) = re.findall(r"EasyCache - skipped (\d+)/6 steps", server.log[before:])
        assert (int(skipped) > 0) == some


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
        "load": node("StillmotionLoadCheckpoint", checkpoint=RANDOM),
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


def test_cores_conditioning_of_our_parts(server, base, file, plain):
    """Core's node shows the model the middle square of the picture: nearly the same video."""
    parts = {"clip_vision": ["load", 1], "init_image": ["image", 0], "vae": ["load", 2]}
    sizes = {"width": 128, "height": 64, "video_frames": 4, "motion_bucket_id": 127, "fps": 6}
    cores = node("SVD_img2vid_Conditioning", **parts, **sizes, augmentation_level=0.0)
    frames = frames_of(base, server.run(video(file) | {"prepare": cores}))
    assert frames.shape == plain.shape
    assert not close(frames, plain)


def test_cores_clip_vision_encode_replaces_the_embedding(server, base, file, plain):
    """A plain picture's embedding gives another video."""
    Image.fromarray(np.full((64, 64, 3), 255, np.uint8)).save(base / "input" / "white.png")
    graph = video(
        file,
        white=node("LoadImage", image="white.png"),
        see=node("CLIPVisionEncode", clip_vision=["load", 1], image=["white", 0], crop="none"),
        prepare={"clip_vision_output": ["see", 0]},
    )
    assert not close(frames_of(base, server.run(graph)), plain)


def test_our_conditioning_in_cores_ksampler_for_core_guidance(server, base, file, plain):
    """Core's linear guidance on our model and conditioning is ours, where the maximum is not 1."""
    graph = video(file, linear=node("VideoLinearCFGGuidance", model=["load", 0], min_cfg=1.0))
    graph["sample"] = cores_ksampler("linear")
    assert close(frames_of(base, server.run(graph)), plain)
