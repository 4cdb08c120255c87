"""The plan: what it predicts, and that it keeps to its budget."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.svd_model.layerwise import (
    DecodePlanner,
    EncodePlanner,
    NotEnoughMemoryError,
)
from stillmotion.svd_model.layerwise.plan import layers_of
from stillmotion.svd_model.networks.vae import VAEParams
from support import decoders, tiny

RELEASED = VAEParams()
GB = 10**9


def planner(frames=25, height=72, width=128, temporal=True, dtype=torch.float32, device="cpu"):
    return DecodePlanner(RELEASED, frames, height, width, temporal=temporal, dtype=dtype, device=device)


def plan(budget=None, **options):
    return planner(**options).within(budget)


def smallest(**options):
    return planner(**options).smallest().peak


@settings(max_examples=100, deadline=None)
@given(
    frames=st.integers(1, 60),
    height=st.integers(1, 130),
    width=st.integers(1, 130),
    share=st.floats(0, 1.2),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    device=st.sampled_from(["cpu", "cuda"]),
)
def test_the_predicted_peak_keeps_to_every_budget_from_the_smallest_on(
    frames, height, width, share, dtype, device
):
    options = {"frames": frames, "height": height, "width": width, "dtype": dtype, "device": device}
    least, most = smallest(**options), plan(**options).peak
    budget = least + round(share * max(0, most - least))
    assert plan(budget, **options).peak <= budget
    with pytest.raises(NotEnoughMemoryError, match="raise the budget, or make the video smaller or shorter"):
        plan(least - 1, **options)


def test_a_larger_budget_spills_no_more():
    spilled = [plan(budget * GB).spilled for budget in (2, 4, 6, 8, 12, 16, 24)]
    assert spilled == sorted(spilled, reverse=True)
    assert spilled[0] > 0 == spilled[-1]


def test_without_a_budget_nothing_is_spilled_or_computed_twice():
    whole = plan()
    assert whole.spilled == 0
    assert all(
        layer.outputs_on_device == 25 and layer.cached_rows == layer.shape.height
        for layer in whole.layers[:-1]
    )


def test_everything_kept_takes_a_third_of_the_one_piece_decode():
    """Which keeps 8 activations of the largest layer (tests/headless/engine/test_memory.py measures that)."""
    one_piece = 8 * 128 * 25 * 576 * 1024 * 4
    assert plan().peak < one_piece / 3


def test_a_frame_wise_decode_takes_the_same_for_any_number_of_frames():
    assert plan(temporal=False).peak == plan(frames=1, temporal=False).peak


@pytest.mark.parametrize("sizes", [tiny.GOLDEN, tiny.SMALL], ids=["golden", "small"])
@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_layers_are_the_ones_that_a_network_runs(sizes, kind):
    """In order and shape, as hooks see them in a plain pass."""
    network = getattr(decoders.decoder(sizes=sizes) if kind == "decoder" else decoders.encoder(sizes), kind)
    layers, seen = list(layers_of(network, 16, 24)), []
    names = {module: name for name, module in network.named_modules()}

    def see(module, inputs, output):
        seen.append((names[module], *inputs[0].shape[1:], *output.shape[1:]))

    for layer in layers:
        network.get_submodule(layer.name).register_forward_hook(see)
        if layer.predecessor:
            network.get_submodule(layer.predecessor).register_forward_hook(see)
    x = torch.zeros(1, network.conv_in.in_channels, 16, 24)
    network(x, 1) if kind == "decoder" else network(x)
    expected = []
    for layer in layers:
        size = (layer.height, layer.width)
        if layer.predecessor:
            size_in = (layer.channels_in, layer.height_in, layer.width_in)
            expected.append((layer.predecessor, *size_in, layer.channels, *size))
        expected.append((layer.name, layer.channels, *size, layer.out_channels, *size))
    assert seen == expected


def test_encoding_is_planned_too():
    planner = EncodePlanner(RELEASED, 576, 1024, dtype=torch.float32, device="cpu")
    whole = planner.within(None)
    with pytest.raises(NotEnoughMemoryError, match="encoding an image of 1024×576 needs at least") as refused:
        planner.within(1)
    assert refused.value.smallest == planner.smallest().peak <= whole.peak < 2 * GB
