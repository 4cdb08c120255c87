"""Folders that diffusers itself writes: whole files, pieces, and the variant in half precision."""

import copy

import pytest
import torch

from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.networks.embedding import sinusoidal_embedding
from stillmotion.svd_model.networks.unet import VideoUNet
from stillmotion.svd_model.networks.vae import ImageEncoder, VideoDecoder
from stillmotion.svd_model.networks.vision import VisionTransformer
from support import diffusers_models, tiny
from support.named_tensors import NamedTensors

FRAMES = 3
BOUND = 1e-4


@pytest.fixture(scope="module")
def pipeline():
    """A pipeline of diffusers."""
    named = NamedTensors()
    return diffusers_models.pipeline(
        named.fill(VideoUNet(tiny.UNET, device="meta")),
        named.fill(ImageEncoder(tiny.VAE, quant_conv=True, device="meta")),
        named.fill(VideoDecoder(tiny.VAE, temporal=True, post_quant_conv=False, device="meta")),
        named.fill(VisionTransformer(tiny.VISION, device="meta")),
    )


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def outputs_of_diffusers(pipeline):
    """What its networks make of the inputs of `outputs`."""
    x, context = draw(1, FRAMES, 8, 8, 16), draw(1, 1, 64)
    numbers = torch.tensor([[6.0, 127.0, 0.02]])
    return {
        "UNet": pipeline.unet(x, torch.tensor(0.3), context, numbers).sample.flatten(0, 1),
        "temporal decoder": pipeline.vae.decode(draw(FRAMES, 4, 4, 8), num_frames=FRAMES).sample,
        "VAE encoder": pipeline.vae.encode(draw(1, 3, 32, 64)).latent_dist.mode(),
        "CLIP image tower": pipeline.image_encoder(draw(1, 3, 224, 224)).image_embeds,
    }


def outputs(checkpoint: Checkpoint):
    """What ours make of them."""
    networks = {part.name: part.load(dtype=torch.float32, device="cpu") for part in checkpoint.networks}
    vector = sinusoidal_embedding(torch.tensor([6.0, 127.0, 0.02]), 256).flatten()[None]
    x, steps = draw(1, FRAMES, 8, 8, 16)[0], torch.full((FRAMES,), 0.3)
    context, vectors = draw(1, 1, 64).repeat(FRAMES, 1, 1), vector.repeat(FRAMES, 1)
    return {
        "UNet": networks["UNet"](x, steps, context, vectors, FRAMES),
        "temporal decoder": networks["temporal decoder"](draw(FRAMES, 4, 4, 8), FRAMES),
        "VAE encoder": networks["VAE encoder"](draw(1, 3, 32, 64)),
        "CLIP image tower": networks["CLIP image tower"](draw(1, 3, 224, 224)),
    }


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_shard_size": "10MB"},
        {"safe_serialization": False},
        {"variant": "fp16", "max_shard_size": "10MB"},
    ],
    ids=["whole files", "pieces", "pickles", "a variant in pieces"],
)
def test_its_networks_are_those_of_diffusers(pipeline, tmp_path, options):
    for name in ("unet", "vae", "image_encoder"):
        getattr(pipeline, name).save_pretrained(tmp_path / name, **options)
    pipeline.save_config(tmp_path)
    checkpoint = Checkpoint.open(tmp_path)
    assert checkpoint.complete
    assert checkpoint.unexpected() == []
    theirs, ours = outputs_of_diffusers(pipeline), outputs(checkpoint)
    for name, expected in theirs.items():
        error = (ours[name].reshape(expected.shape) - expected).abs().max() / expected.abs().max()
        assert error < BOUND, name


@torch.no_grad()
def test_half_precision_is_kept(pipeline, tmp_path):
    for name in ("unet", "vae", "image_encoder"):
        network = getattr(pipeline, name)
        copy.deepcopy(network).half().save_pretrained(tmp_path / name, variant="fp16")
    checkpoint = Checkpoint.open(tmp_path)
    assert checkpoint.complete
    assert {network.dtypes for network in checkpoint.networks} == {(torch.float16,)}
    expected = pipeline.unet.conv_in.weight.half()
    assert torch.equal(checkpoint.unet.tensors()["input_blocks.0.0.weight"], expected)
