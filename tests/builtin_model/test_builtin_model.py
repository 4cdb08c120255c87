"""The model that needs no download."""

import json

import torch

from stillmotion import builtin_model


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
