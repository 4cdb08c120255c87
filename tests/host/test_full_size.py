"""Our loader against core's on a checkpoint of the real size. Not in the default run: make test-full-size."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from support import host
from support.graphs import first_video, ksampler, node
from support.host_pictures import frames_of
from training import measures

pytestmark = pytest.mark.fullsize
TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def full_size_base(tmp_path_factory):
    host.require()
    base = host.make_base(tmp_path_factory.mktemp("full size host"))
    path = base / "models" / "checkpoints" / "svd_xt.safetensors"
    keys = TESTS / "golden" / "keys_svd_xt.json"
    subprocess.run([sys.executable, TESTS / "support" / "full_size.py", keys, path], check=True)
    yield base
    path.unlink()


def cores_graph(loader: dict) -> dict:
    """Core's own SVD graph; the loader's outputs are MODEL, CLIP_VISION and VAE."""
    conditioning = {"clip_vision": ["load", 1], "init_image": ["image", 0], "vae": ["load", 2]}
    conditioning |= {"width": 256, "height": 128, "video_frames": 4, "motion_bucket_id": 127, "fps": 6}
    sampling = {"model": ["guide", 0], "positive": ["prepare", 0], "negative": ["prepare", 1], "seed": 7}
    sampling |= {"latent_image": ["prepare", 2], "steps": 3, "cfg": 2.5, "sampler_name": "euler"}
    return {
        "load": loader,
        "image": node("LoadImage", image="rocket.jpg"),
        "prepare": node("SVD_img2vid_Conditioning", **conditioning, augmentation_level=0.0),
        "guide": node("VideoLinearCFGGuidance", model=["load", 0], min_cfg=1.0),
        "sample": node("KSampler", **sampling, scheduler="karras", denoise=1.0),
        "latent": node("SaveLatent", samples=["sample", 0], filename_prefix="latent"),
        "decode": node("VAEDecode", samples=["sample", 0], vae=["load", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="frames"),
    }


def with_our_parts(graph: dict) -> dict:
    """The graph with SVD KSampler for core's, and beside it the same of SVD Guidance and SVD Schedule."""
    shape = {"shape": "linear", "min_guidance": 1.0, "max_guidance": 2.5, "scales": ""}
    shape |= {"interval_low": 0.0, "interval_high": 1e6}
    levels = {"schedule": "karras", "steps": 3, "sigma_max": 700.0, "sigma_min": 0.002, "rho": 7.0}
    custom = {"model": ["guide", 0], "positive": ["prepare", 0], "negative": ["prepare", 1], "cfg": 8.0}
    custom |= {"add_noise": True, "noise_seed": 7, "sampler": ["solver", 0], "sigmas": ["sigmas", 0]}
    return graph | {
        "sample": ksampler(seed=7, steps=3),
        "guide": node("StillmotionGuidance", model=["load", 0], **shape),
        "sigmas": node("StillmotionSchedule", **levels),
        "solver": node("KSamplerSelect", sampler_name="euler"),
        "custom": node("SamplerCustom", latent_image=["prepare", 2], **custom),
        "custom latent": node("SaveLatent", samples=["custom", 0], filename_prefix="custom"),
    }


def run(base: Path, graph: dict) -> tuple:
    """The latents and frames of a graph, from a server that has nothing in memory yet."""
    with host.Server(base, "--cache-none") as server:
        frames = frames_of(base, server.run(graph))
    return latents(base, "latent"), frames.astype(np.float64)


def latents(base: Path, prefix: str):
    """What SaveLatent wrote last under that prefix."""
    return load_file(sorted((base / "output").glob(f"{prefix}*.latent"))[-1])["latent_tensor"]


def error(base: Path, *graphs: dict) -> list[str]:
    """What the failing nodes of some graphs say, all run by one server."""
    with host.Server(base) as server:
        return [host.error_of(server.run(graph)) for graph in graphs]


def relative(ours, theirs) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def test_only_the_loader_replaced_gives_the_same_video(full_size_base, capsys):
    core_loader = node("ImageOnlyCheckpointLoader", ckpt_name="svd_xt.safetensors")
    our_loader = node("StillmotionLoadCheckpoint", checkpoint="svd_xt.safetensors")
    core_latents, core_frames = run(full_size_base, cores_graph(core_loader))
    our_latents, our_frames = run(full_size_base, cores_graph(our_loader))
    mixed_latents, _ = run(full_size_base, with_our_parts(cores_graph(core_loader)))
    custom_latents = latents(full_size_base, "custom")
    psnr = measures.psnr(our_frames, core_frames)
    figures = {
        "our loader, latents": relative(our_latents, core_latents),
        "our loader, frames_PSNR_dB": round(psnr, 1),
        "core's MODEL in our KSampler, latents": relative(mixed_latents, core_latents),
        "core's MODEL in our guidance and schedule, latents": relative(custom_latents, core_latents),
    }
    with capsys.disabled():
        print(json.dumps(figures))  # noqa: T201 (the figures)
    assert core_latents.std() > 0.1
    assert relative(our_latents, core_latents) < 1e-3
    assert psnr > 50
    assert relative(mixed_latents, core_latents) < 1e-3
    assert relative(custom_latents, core_latents) < 1e-3


def test_cores_model_with_wrong_inputs(full_size_base):
    """What our model would notice by itself and core's doesn't, so that SVD KSampler must."""
    graph = cores_graph(node("ImageOnlyCheckpointLoader", ckpt_name="svd_xt.safetensors"))
    del graph["guide"]
    words = {"words": node("TestsTextConditioning"), "sample": ksampler(seed=7)}
    words["sample"]["inputs"]["negative"] = ["words", 0]
    ours = first_video()["prepare"]
    batch = {"two": node("RepeatImageBatch", image=["image", 0], amount=2), "prepare": ours}
    ours["inputs"]["image"] = ["two", 0]
    no_picture, several = error(full_size_base, graph | words, graph | batch | {"sample": ksampler(seed=7)})
    assert "negative holds no picture to animate" in no_picture
    assert "the latent holds 2 videos, which core's model would mix" in several
