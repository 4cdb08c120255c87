"""The places of a UNet, and the hooks that it calls there."""

import functools

import pytest
import torch
from torch import nn

from stillmotion.svd_model.networks.feature_cache import FeatureCache
from stillmotion.svd_model.networks.hooks import Hooks
from stillmotion.svd_model.networks.transformer import SpatialVideoTransformer
from stillmotion.svd_model.networks.unet import UNetParams, VideoUNet
from support import tiny
from support.named_tensors import NamedTensors

NAMED = NamedTensors("networks:")
FRAMES, SIZE = 4, 16


@functools.cache
def unet() -> VideoUNet:
    return NAMED.fill(VideoUNet(tiny.UNET, device="meta"))


def conditions() -> tuple:
    return (
        torch.zeros(FRAMES),
        NAMED.input("context", (1, 1, 64)).expand(FRAMES, -1, -1),
        NAMED.input("y", (1, 768)).expand(FRAMES, -1),
    )


def x() -> torch.Tensor:
    return NAMED.input("x", (FRAMES, 8, SIZE, SIZE))


@functools.cache
def plain() -> torch.Tensor:
    return unet()(x(), *conditions(), FRAMES)


def hooked(hooks: Hooks) -> torch.Tensor:
    return unet()(x(), *conditions(), FRAMES, hooks)


def test_places_of_the_released_unets():
    """Twelve stages down, one in the middle, twelve up; 16 transformers, as the released keys have them."""
    places = UNetParams().places()
    assert [place.part for place in places] == ["input"] * 12 + ["middle"] + ["output"] * 12
    assert [place.index for place in places] == [*range(12), 0, *range(12)]
    assert [place.level for place in places[:13]] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert [place.level for place in places[13:]] == [3, 3, 3, 2, 2, 2, 1, 1, 1, 0, 0, 0]
    numbered = [(place.part, place.index, place.number) for place in places if place.number is not None]
    names = [("input", n) for n in (1, 2, 4, 5, 7, 8)] + [("middle", 0)]
    names += [("output", n) for n in range(3, 12)]
    assert numbered == [(*name, number) for number, name in enumerate(names)]


@pytest.mark.parametrize(
    "params",
    [
        tiny.UNET,
        tiny.SMALL.unet,
        UNetParams(
            model_channels=32, channel_mult=(1,), num_res_blocks=1, attention_levels=0, head_channels=16
        ),
        UNetParams(model_channels=32, channel_mult=(1, 1, 1), num_res_blocks=3, head_channels=16),
    ],
    ids=["released", "small", "one level without attention", "three blocks"],
)
def test_places_are_where_the_layers_are(params):
    """Features are halved and doubled by layers named op and conv; transformers are counted as they stand."""
    network = VideoUNet(params, device="meta")
    stages = {"input": network.input_blocks, "middle": [network.middle_block]}
    stages["output"] = network.output_blocks
    level, number = 0, 0
    for place in network.places:
        layers = list(stages[place.part][place.index])
        level += any(hasattr(layer, "op") for layer in layers)
        transformers = sum(isinstance(layer, SpatialVideoTransformer) for layer in layers)
        assert place[:4] == (place.part, place.index, level, number if transformers else None)
        number += transformers
        level -= any(hasattr(layer, "conv") for layer in layers)
    assert len(network.places) == sum(map(len, stages.values()))


class Recorded(Hooks):
    """Hooks that change nothing and note what they get."""

    def __init__(self):
        self.joins, self.blocks, self.attentions = [], [], []

    def joined(self, place, x, skip):
        self.joins.append((place, x.shape[-1], skip.shape[-1]))
        return super().joined(place, x, skip)

    def block(self, place, axis, block, x, context, pieces):
        self.blocks.append((place, axis, tuple(x.shape)))
        return super().block(place, axis, block, x, context, pieces)

    def attention(self, place, axis, q, k, v, attend):
        assert q.shape == k.shape == v.shape
        self.attentions.append((place, axis, tuple(q.shape)))
        return super().attention(place, axis, q, k, v, attend)


def test_hooks_that_change_nothing_change_nothing():
    assert torch.equal(hooked(Recorded()), plain())


def test_features_are_joined_at_every_output_stage():
    recorded = Recorded()
    hooked(recorded)
    outputs = [place for place in unet().places if place.part == "output"]
    assert recorded.joins == [(place, *2 * [SIZE >> place.level]) for place in outputs]


def test_every_transformer_has_a_block_in_space_and_one_over_time():
    recorded = Recorded()
    hooked(recorded)
    expected = []
    for place in unet().places:
        if place.number is not None:
            positions, width = (SIZE >> place.level) ** 2, unet().params.width(place.level)
            expected.append((place, "space", (FRAMES, positions, width)))
            expected.append((place, "time", (1, FRAMES, positions, width)))
    assert recorded.blocks == expected


def test_every_block_has_a_self_attention_among_its_own_rows():
    recorded = Recorded()
    hooked(recorded)
    expected = [
        (place, axis, shape if axis == "space" else (shape[2], shape[1], shape[3]))
        for place, axis, shape in recorded.blocks
    ]
    assert recorded.attentions == expected


class ValuesAlone(Hooks):
    """Attention of each row to itself alone, over one axis."""

    def __init__(self, axis: str):
        self.axis = axis

    def attention(self, place, axis, q, k, v, attend):
        return v if axis == self.axis else attend(q, k, v)


class HalvedSkips(Hooks):
    def joined(self, place, x, skip):
        return x, skip / 2


class WithoutBlocks(Hooks):
    def __init__(self, axis: str):
        self.axis = axis

    def block(self, place, axis, block: nn.Module, x, context, pieces):
        return x if axis == self.axis else block(x, context, pieces)


@pytest.mark.parametrize(
    "hooks",
    [HalvedSkips(), *(hooks(axis) for hooks in (WithoutBlocks, ValuesAlone) for axis in ("space", "time"))],
)
def test_hooks_change_what_they_say(hooks):
    assert not torch.allclose(hooked(hooks), plain(), atol=1e-2)


class WrittenOver(Hooks):
    def joined(self, place, x, skip):
        return x.mul_(2), skip.mul_(2)

    def block(self, place, axis, block, x, context, pieces):
        return block(x.mul_(2), context)


class Doubled(Hooks):
    def joined(self, place, x, skip):
        return x * 2, skip * 2

    def block(self, place, axis, block, x, context, pieces):
        return block(x * 2, context)


@pytest.mark.parametrize("interval", [1, 3])
def test_hooks_may_write_over_their_tensors(interval):
    """Also where deep features serve several evaluations."""
    timesteps, context, y = conditions()
    constants = unet().prepare(context, y, FRAMES)
    shifts = unet().shifts(timesteps, constants)
    over, beside = FeatureCache(), FeatureCache()
    for level in range(4):
        results = []
        for cache, hooks in ((over, WrittenOver()), (beside, Doubled())):
            with cache.evaluation(["clip"], interval, level) as deep:
                results.append(deep.predict(unet(), ("clip",), x(), shifts, constants, hooks))
        assert torch.equal(*results)
