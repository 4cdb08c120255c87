"""The model that needs no download."""

import torch

from stillmotion.headless import builtin_model


def test_it_is_whole_and_small():
    checkpoint = builtin_model.load()
    assert checkpoint.complete
    assert checkpoint.unexpected() == []
    assert sum(network.parameters for network in checkpoint.networks) < 25e6


def test_it_is_the_same_each_time():
    first, again = builtin_model.load().file, builtin_model.load().file
    assert all(torch.equal(first.read(key), again.read(key)) for key in first.shapes)


def test_it_brings_its_own_sizes():
    variant = builtin_model.load().variant
    assert (variant.num_frames, variant.width, variant.height) == (14, 128, 128)
