"""What the networks refuse, and what must hold whatever the weights are."""

import functools

import pytest
import torch

from stillmotion.svd_model.networks.operations import CastingOperations, scaled_dot_product_attention
from stillmotion.svd_model.networks.unet import UNetParams, VideoUNet
from stillmotion.svd_model.networks.vae import ImageEncoder, VideoDecoder
from stillmotion.svd_model.networks.vision import VisionTransformer, preprocess
from support import tiny
from support.named_tensors import NamedTensors

NAMED = NamedTensors("networks:")


@functools.cache
def unet():
    return NAMED.fill(VideoUNet(tiny.UNET, device="meta"))


def unet_inputs(frames=4, **changes):
    inputs = {
        "x": NAMED.input("x", (frames, 8, 16, 16)),
        "timesteps": torch.zeros(frames),
        "context": NAMED.input("context", (1, 1, 64)).expand(frames, -1, -1),
        "y": NAMED.input("y", (1, 768)).expand(frames, -1),
        "num_video_frames": frames,
    }
    return inputs | changes


def test_two_videos_in_a_batch_do_not_leak_into_each_other():
    x = NAMED.input("two", (8, 8, 16, 16))
    context = NAMED.input("contexts", (2, 1, 64)).repeat_interleave(4, dim=0)
    y = NAMED.input("ys", (2, 768)).repeat_interleave(4, dim=0)
    together = unet()(x, torch.zeros(8), context, y, 4)
    alone = unet()(x[4:], torch.zeros(4), context[4:], y[4:], 4)
    assert torch.allclose(together[4:], alone, atol=1e-4 * alone.abs().max().item())


def test_every_frame_sees_every_other():
    inputs = unet_inputs()
    changed = inputs["x"].clone()
    changed[3] += 1
    difference = (unet()(**inputs) - unet()(**unet_inputs(x=changed))).abs().amax(dim=(1, 2, 3))
    assert (difference > 1e-3).all()


def test_attention_and_operations_are_those_given():
    calls = []

    def counting(q, k, v, heads):
        calls.append(heads)
        return scaled_dot_product_attention(q, k, v, heads)

    class Operations(CastingOperations):
        class Linear(CastingOperations.Linear):
            pass

    network = NAMED.fill(VideoUNet(tiny.UNET, operations=Operations, attention=counting, device="meta"))
    result = network(**unet_inputs())
    assert torch.equal(result, unet()(**unet_inputs()))
    # Two self-attentions in each of 16 transformers; cross-attention to one token needs none.
    assert len(calls) == 2 * 16
    assert isinstance(network.input_blocks[1][1].proj_in, Operations.Linear)
    assert network.time_embed[0].weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x": torch.zeros(4, 4, 16, 16)},
            r"x has shape \(4, 4, 16, 16\); the UNet takes \(frames, 8, h, w\)",
        ),
        ({"x": torch.zeros(4, 8, 12, 16)}, "multiples of 8"),
        ({"num_video_frames": 3}, "not a whole number of videos of 3 frames"),
        ({"num_video_frames": 0}, "not a whole number of videos of 0 frames"),
        ({"timesteps": torch.zeros(1)}, r"timesteps has shape \(1,\); for this x it must be \(4,\)"),
        ({"context": torch.zeros(4, 64)}, r"context has shape \(4, 64\); for this x it must be"),
        ({"context": torch.zeros(4, 1, 32)}, r"it must be \(4, 1, 64\)"),
        ({"y": torch.zeros(4, 256)}, r"y has shape \(4, 256\); for this x it must be \(4, 768\)"),
    ],
)
def test_unet_refuses_other_shapes(changes, message):
    with pytest.raises(ValueError, match=message):
        unet()(**unet_inputs(**changes))


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="32 channels can't be split into heads of 24"):
        VideoUNet(UNetParams(model_channels=32, head_channels=24), device="meta")


def test_encoder_refuses_other_shapes():
    encoder = ImageEncoder(tiny.VAE, quant_conv=True, device="meta")
    with pytest.raises(ValueError, match=r"\(1, 3, 60, 64\); the encoder takes .* multiples of 8"):
        encoder(torch.zeros(1, 3, 60, 64))


def test_decoder_refuses_other_shapes():
    decoder = VideoDecoder(tiny.VAE, temporal=True, post_quant_conv=False, device="meta")
    with pytest.raises(ValueError, match=r"\(3, 4, 8, 8\).* whole number of videos of 2 frames"):
        decoder(torch.zeros(3, 4, 8, 8), 2)


def test_image_tower_refuses_other_sizes():
    tower = VisionTransformer(tiny.VISION, device="meta")
    with pytest.raises(ValueError, match=r"takes \(N, 3, 224, 224\): preprocess\(\) makes that"):
        tower(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("size", [(16, 16), (224, 224), (8, 640), (1000, 300)])
def test_preprocessing_keeps_a_plain_colour(size):
    """Whatever the picture's size, stretched, blurred at its borders or not."""
    pixels = preprocess(torch.full((1, 3, *size), 0.5))
    assert pixels.shape == (1, 3, 224, 224)
    assert torch.allclose(pixels.amax(dim=(2, 3)), pixels.amin(dim=(2, 3)), atol=1e-4)
