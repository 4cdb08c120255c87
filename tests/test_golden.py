"""Every number of the reference, sgm in float32 on a CPU, is ours too.

GOLDEN_FILE names another file of the same kind, GOLDEN_PREFIX the prefix its tensors were named with.
"""

import functools
import math
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from stillmotion.clips.conditions import vector
from stillmotion.samplers import guidance, preconditioning, schedules, solvers
from stillmotion.svd_model.checkpoint.variants import SV3D_P, SVD_XT
from stillmotion.svd_model.networks.unet import VideoUNet
from stillmotion.svd_model.networks.vae import ImageEncoder, VideoDecoder
from stillmotion.svd_model.networks.vision import VisionTransformer, preprocess
from support import tiny
from support.named_tensors import NamedTensors

GOLDEN_FILE = Path(
    os.environ.get("GOLDEN_FILE") or Path(__file__).parent / "golden" / "golden_sgm.safetensors"
)
NAMED = NamedTensors(os.environ.get("GOLDEN_PREFIX", ""))

with safe_open(GOLDEN_FILE, "pt") as golden:
    GOLDEN = {name: golden.get_tensor(name) for name in golden.keys()}  # noqa: SIM118 (not a dict)


@functools.cache
def unet():
    return NAMED.fill(VideoUNet(tiny.UNET, device="meta"))


@functools.cache
def encoder(quant_conv):
    encoder = ImageEncoder(tiny.VAE, quant_conv=quant_conv, device="meta")
    NAMED.fill(encoder.encoder, "encoder.")
    if quant_conv:
        NAMED.fill(encoder.quant_conv, "quant_conv.")
    return encoder


def unet_out():
    x = NAMED.input("unet.x", (10, 8, 16, 24))
    context = NAMED.input("unet.context", (2, 1, 64)).repeat_interleave(5, dim=0)
    y = NAMED.input("unet.y", (2, 768)).repeat_interleave(5, dim=0)
    return unet()(x, torch.full((10,), 0.25 * math.log(3.7)), context, y, 5)


def scaling(name):
    return getattr(preconditioning.scalings(GOLDEN["edm.sigma"]), name)


def sample(solver, scales):
    context = NAMED.input("sample.context", (1, 1, 64)).repeat(5, 1, 1)
    concat = NAMED.input("sample.concat", (1, 4, 16, 24)).repeat(5, 1, 1, 1)
    y = vector(SVD_XT, 1, 0.02, fps=7).repeat(5, 1)

    def branch(context, concat):
        def network(x, c_noise):
            return unet()(torch.cat([x, concat], dim=1), c_noise.repeat(5), context, y, 5)

        return preconditioning.precondition(network)

    denoisers = {
        guidance.CONDITIONAL: branch(context, concat),
        guidance.UNCONDITIONAL: branch(torch.zeros_like(context), torch.zeros_like(concat)),
    }

    def evaluate(branches, x, sigma):
        return [denoisers[name](x, sigma) for name in branches]

    denoise = guidance.guided(evaluate, [guidance.cfg(scales)])
    sigmas = schedules.karras(6)
    x = preconditioning.scale_noise(NAMED.input("sample.noise", (5, 4, 16, 24)), sigmas[0])
    return solver(denoise, x, sigmas, noise=torch.randn_like)


def vae_image():
    return NAMED.input("vae.image", (2, 3, 64, 96)).clamp(-1, 1)


def decode(temporal):
    decoder = VideoDecoder(tiny.VAE, temporal=temporal, post_quant_conv=False, device="meta")
    NAMED.fill(decoder.decoder, "decoder." if temporal else "framewise.")
    return decoder(NAMED.input("vae.z", (5, 4, 8, 12)), 5)


def clip_image(small):
    if small:
        return NAMED.input("clip.small", (1, 3, 72, 128)).clamp(-1, 1)
    coarse = NAMED.input("clip.image", (1, 3, 36, 64))
    return torch.nn.functional.interpolate(coarse, (288, 512), mode="bicubic", align_corners=False).clamp(
        -1, 1
    )


def clip_embedding(small):
    tower = NAMED.fill(VisionTransformer(tiny.VISION, device="meta"), "visual.")
    return tower(preprocess(clip_image(small)))


ENTRIES = {
    "unet.out": unet_out,
    "edm.c_skip": lambda: scaling("c_skip"),
    "edm.c_out": lambda: scaling("c_out"),
    "edm.c_in": lambda: scaling("c_in"),
    "edm.c_noise": lambda: scaling("c_noise"),
    "vector.svd": lambda: vector(SVD_XT, 1, 0.02, fps=7),
    "vector.sv3d_p": lambda: vector(SV3D_P, 2, 1e-5, elevation=10.0, azimuths=[120.0, 0.0])[:1],
    "sample.linear": lambda: sample(solvers.euler, guidance.linear(5, 1.5, 3)),
    "sample.triangle": lambda: sample(solvers.euler, guidance.triangle(5, 1, 2.5)),
    "sample.heun_linear": lambda: sample(solvers.heun, guidance.linear(5, 1.5, 3)),
    "vae.moments": lambda: encoder(quant_conv=False).encoder(vae_image()),
    "vae.mode_with_quant_conv": lambda: encoder(quant_conv=True)(vae_image()),
    "vae.decode.temporal": lambda: decode(temporal=True),
    "vae.decode.framewise": lambda: decode(temporal=False),
    "clip.preprocessed_every_8th": lambda: preprocess(clip_image(small=False))[:, :, ::8, ::8],
    "clip.embed": lambda: clip_embedding(small=False),
    "clip.small.preprocessed_every_8th": lambda: preprocess(clip_image(small=True))[:, :, ::8, ::8],
    "clip.small.embed": lambda: clip_embedding(small=True),
}
FAMILIES = {
    "edm.sigmas": schedules.karras,
    "guider.linear": lambda num_frames: guidance.linear(num_frames, 1.5, 3)[None],
    "guider.triangle": lambda num_frames: guidance.triangle(num_frames, 1, 2.5)[None],
}


def ours(name):
    if name in ENTRIES:
        return ENTRIES[name]()
    family, number = name.rsplit(".", 1)
    return FAMILIES[family](int(number))


@pytest.mark.parametrize("name", sorted(GOLDEN.keys() - {"edm.sigma"}))  # edm.sigma is an input
def test_entry_equals_the_reference(name):
    reference = GOLDEN[name]
    result = ours(name)
    assert result.shape == reference.shape
    tolerance = 1e-3 if name.startswith("clip.") else 1e-4
    assert (result - reference).abs().max() <= tolerance * reference.abs().max()


def test_the_file_holds_every_kind_of_entry():
    missing = ENTRIES.keys() - GOLDEN.keys()
    missing |= {family for family in FAMILIES if not any(name.startswith(family) for name in GOLDEN)}
    assert not missing
