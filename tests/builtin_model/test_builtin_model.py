"""The model that needs no download."""

import json

import torch
from PIL import Image

from stillmotion import builtin_model
from stillmotion.headless.files.images import to_tensor
from stillmotion.svd_model.networks.vae import LATENT_SCALE
from support.landscape import STRONGEST, colours, landscape


def test_it_is_whole_and_small():
    checkpoint = builtin_model.load()
    assert checkpoint.complete
    assert checkpoint.unexpected() == []
    assert sum(network.parameters for network in checkpoint.networks) < 7.1e6


def test_its_file_is_small_and_says_what_it_is():
    file = builtin_model.load().file
    assert file.path.stat().st_size <= 14_000_000
    assert set(file.dtypes.values()) == {torch.float16}
    notes = json.loads(file.metadata["stillmotion"])
    assert notes["licence"] == "Apache-2.0"
    assert "trained" in notes


def test_it_is_finite_and_no_noise():
    """Weights of a trained network differ from layer to layer; no layer is as it was filled at the start."""
    file = builtin_model.load().file
    tensors = {key: file.read(key).float() for key in file.shapes}
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    norms = [
        t
        for key, t in tensors.items()
        if key.endswith("in_layers.0.weight") and "model.diffusion_model." in key
    ]
    assert norms and not any((norm == 1).all() for norm in norms)


def test_it_holds_a_frame_wise_decoder_too():
    assert builtin_model.load().frame_wise_decoder.whole


def test_it_brings_its_own_sizes():
    variant = builtin_model.load().variant
    assert (variant.num_frames, variant.width, variant.height) == (14, 128, 128)


def test_the_colours_of_its_latents_are_said():
    """Sky, grass and a house are blue, green and red."""
    checkpoint = builtin_model.load()
    encoder = checkpoint.encoder.load(dtype=torch.float32, device="cpu")
    with torch.no_grad():
        latent = LATENT_SCALE * encoder(2 * to_tensor(Image.fromarray(landscape()))[None] - 1)[0]
    rgb = checkpoint.latent_colours
    shown = colours((latent.movedim(0, -1) @ torch.tensor(rgb.factors) + torch.tensor(rgb.bias)).numpy())
    assert [shown[region].argmax() for region, _ in STRONGEST] == [strongest for _, strongest in STRONGEST]
