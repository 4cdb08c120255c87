"""Our networks against those of diffusers and transformers with the same weights: a second opinion."""

import functools
import math

import pytest
import torch

from stillmotion.svd_model.networks.unet import VideoUNet
from stillmotion.svd_model.networks.vae import ImageEncoder, VideoDecoder
from stillmotion.svd_model.networks.vision import VisionTransformer
from support import diffusers_models, tiny
from support.named_tensors import NamedTensors

NAMED = NamedTensors("diffusers:")


def assert_close(ours, theirs, tolerance=1e-4):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@functools.cache
def unets():
    ours = NAMED.fill(VideoUNet(tiny.UNET, device="meta"))
    return ours, diffusers_models.unet(ours)


@functools.cache
def autoencoders():
    encoder = NAMED.fill(ImageEncoder(tiny.VAE, quant_conv=True, device="meta"))
    decoder = NAMED.fill(VideoDecoder(tiny.VAE, temporal=True, post_quant_conv=False, device="meta"))
    return encoder, decoder, diffusers_models.vae(encoder, decoder)


@pytest.mark.parametrize(("videos", "frames"), [(1, 1), (1, 5), (2, 3)])
@pytest.mark.parametrize("sigma", [700.0, 3.7, 0.002])
def test_unet(videos, frames, sigma):
    x = NAMED.input("x", (videos * frames, 8, 16, 24))
    context = NAMED.input("context", (videos, 1, 64))
    numbers = torch.tensor([[5.0, 127.0, 0.02]]).repeat(videos, 1)
    ours, theirs = unets()
    c_noise = 0.25 * math.log(sigma)
    reference = theirs(x.unflatten(0, (videos, frames)), c_noise, context, numbers).sample.flatten(0, 1)

    y = theirs.add_time_proj(numbers.flatten()).reshape(videos, -1)
    result = ours(
        x,
        torch.full((videos * frames,), c_noise),
        context.repeat_interleave(frames, dim=0),
        y.repeat_interleave(frames, dim=0),
        frames,
    )
    assert_close(result, reference)


def test_unet_with_several_context_tokens():
    """Real cross-attention, which one token makes a constant."""
    x = NAMED.input("x", (4, 8, 16, 24))
    context = NAMED.input("tokens", (2, 7, 64))
    numbers = torch.tensor([[5.0, 127.0, 0.02]]).repeat(2, 1)
    ours, theirs = unets()
    reference = theirs(x.unflatten(0, (2, 2)), 0.3, context, numbers).sample.flatten(0, 1)
    y = theirs.add_time_proj(numbers.flatten()).reshape(2, -1).repeat_interleave(2, dim=0)
    result = ours(x, torch.full((4,), 0.3), context.repeat_interleave(2, dim=0), y, 2)
    assert_close(result, reference)


def test_encoder():
    encoder, _, theirs = autoencoders()
    image = NAMED.input("image", (2, 3, 64, 96)).clamp(-1, 1)
    reference = theirs.encode(image).latent_dist.mode()
    assert_close(encoder(image), reference)


@pytest.mark.parametrize(("videos", "frames"), [(1, 1), (1, 5), (2, 3)])
def test_temporal_decoder(videos, frames):
    _, decoder, theirs = autoencoders()
    z = NAMED.input("z", (videos * frames, 4, 8, 12))
    reference = theirs.decode(z, num_frames=frames).sample
    assert_close(decoder(z, frames), reference)


def test_image_tower():
    tower = NAMED.fill(VisionTransformer(tiny.VISION, device="meta"))
    pixels = NAMED.input("pixels", (2, 3, 224, 224))
    assert_close(tower(pixels), diffusers_models.vision(tower)(pixel_values=pixels).image_embeds)
