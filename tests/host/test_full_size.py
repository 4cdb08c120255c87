"""Our loader against core's on a checkpoint of the real size. Not in the default run: make test-full-size."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from support import host
from support.graphs import ksampler, node
from support.host_pictures import frames_of

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


def run(base: Path, graph: dict) -> tuple:
    """The latents and frames of a graph, from a server that has nothing in memory yet."""
    with host.Server(base, "--cache-none") as server:
        frames = frames_of(base, server.run(graph))
    saved = sorted((base / "output").glob("latent*.latent"))
    return load_file(saved[-1])["latent_tensor"], frames.astype(np.float64)


def relative(ours, theirs) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def test_only_the_loader_replaced_gives_the_same_video(full_size_base, capsys):
    core_loader = node("ImageOnlyCheckpointLoader", ckpt_name="svd_xt.safetensors")
    our_loader = node("StillmotionLoadCheckpoint", checkpoint="svd_xt.safetensors")
    mixed = cores_graph(core_loader) | {"sample": ksampler(seed=7, steps=3)}
    del mixed["guide"]
    core_latents, core_frames = run(full_size_base, cores_graph(core_loader))
    our_latents, our_frames = run(full_size_base, cores_graph(our_loader))
    mixed_latents, _ = run(full_size_base, mixed)
    psnr = -10 * np.log10(max((((our_frames - core_frames) / 255) ** 2).mean(), 1e-12))
    figures = {
        "our loader, latents": relative(our_latents, core_latents),
        "our loader, frames_PSNR_dB": round(psnr, 1),
        "core's MODEL in our KSampler, latents": relative(mixed_latents, core_latents),
    }
    with capsys.disabled():
        print(json.dumps(figures))  # noqa: T201 (the figures)
    assert core_latents.std() > 0.1
    assert relative(our_latents, core_latents) < 1e-3
    assert psnr > 50
    assert relative(mixed_latents, core_latents) < 1e-3
