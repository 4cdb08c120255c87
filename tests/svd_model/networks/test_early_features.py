"""Evaluations that share their first stages: equal to whole ones, at every stage, and their memory."""

import math

import pytest
import torch
from torch import Tensor

from stillmotion.svd_model.networks.early_features import EarlyFeatures, first_changed, kept_before
from stillmotion.svd_model.networks.feature_cache import FeatureCache
from stillmotion.svd_model.networks.hooks import NO_HOOKS, Hooks, Place, both
from stillmotion.svd_model.networks.pieces import WHOLE, Pieces
from stillmotion.svd_model.networks.steering import Sharpened, Skipped
from stillmotion.svd_model.networks.unet import VideoUNet
from support import tiny
from support.golden_time import NAMED

FRAMES = 3
LAYERS = tiny.UNET.attention_names
NUMBERS = {place.name: number for number, place in enumerate(tiny.UNET.places()) if place.name is not None}


class Written(Hooks):
    """Adds to skips in place, as a ControlNet does."""

    def skip(self, place: Place, x: Tensor) -> Tensor:
        return x.add_(1 + place.index)


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    return NAMED.fill(VideoUNet(tiny.UNET, device="meta")).double()


def inputs(unet: VideoUNet, videos: int = 1) -> tuple:
    x = NAMED.input("early.x", (2 * FRAMES, 8, 8, 16))[: videos * FRAMES].double()
    context, y = (
        NAMED.input(name, shape)[:videos].double().repeat_interleave(FRAMES, 0)
        for name, shape in (("early.context", (2, 1, 64)), ("early.y", (2, 768)))
    )
    constants = unet.prepare(context, y, FRAMES)
    timesteps = torch.full((len(x),), 0.25 * math.log(3.7), dtype=torch.float64)
    return x, unet.shifts(timesteps, constants), constants


def skipped(axis: str, *layers: str) -> Skipped:
    return Skipped(axis, frozenset(layers))


@torch.no_grad()
@pytest.mark.parametrize(
    "layer, pieces",
    [
        *((layer, WHOLE) for layer in ("d1", "m0", "u0", LAYERS[-1])),
        ("u0", Pieces(2**16)),
        ("u0", Pieces(skips_on_device=False)),
    ],
)
def test_evaluations_from_shared_features_are_whole_ones(unet, layer, pieces):
    """In equal bytes, also where hooks write over the skips that later evaluations read."""
    early = EarlyFeatures(NUMBERS[layer], slice(0, FRAMES))
    for own in (NO_HOOKS, skipped("space", layer), skipped("time", layer)):
        hooks = both(own, Written())
        whole = unet.predict(*inputs(unet), hooks, pieces=pieces)
        assert torch.equal(unet.predict(*inputs(unet), hooks, pieces=pieces, early=early), whole)


@torch.no_grad()
def test_features_of_one_video_of_a_batch_are_shared(unet):
    early = EarlyFeatures(NUMBERS["u0"], slice(0, FRAMES))
    both_videos = unet.predict(*inputs(unet, 2), early=early)
    assert torch.equal(both_videos, unet.predict(*inputs(unet, 2)))
    hooks = skipped("space", "u0")
    whole = unet.predict(*inputs(unet), hooks)
    error = (unet.predict(*inputs(unet), hooks, early=early) - whole).abs().max()
    assert error < 1e-12 * whole.abs().max()  # of float64, where a batch has other kernels


@torch.no_grad()
def test_each_stage_runs_once_that_is_equal(unet):
    counts = dict.fromkeys(range(len(unet.places)), 0)
    handles = [
        stage.register_forward_hook(lambda *_, number=number: counts.update({number: counts[number] + 1}))
        for number, stage in enumerate(unet._stages())
    ]
    early = EarlyFeatures(NUMBERS["u0"], slice(0, FRAMES))
    for hooks in (NO_HOOKS, skipped("space", "u0"), skipped("time", "u0")):
        unet.predict(*inputs(unet), hooks, early=early)
    for handle in handles:
        handle.remove()
    shared = range(1, NUMBERS["u0"])  # the first convolution is the last stage's skip, and costs little
    assert counts == {number: 1 if number in shared else 3 for number in counts}


@torch.no_grad()
def test_a_feature_cache_shares_them_too(unet):
    axes = ("", "space", "time")
    plain, sharing = FeatureCache(), FeatureCache()
    for scale in (1, 2, 3):
        early = EarlyFeatures(NUMBERS["u0"], slice(0, FRAMES))
        with plain.evaluation(axes, 2, scale) as alone, sharing.evaluation(axes, 2, scale) as shared:
            for axis in axes:
                hooks = skipped(axis, "u0") if axis else NO_HOOKS
                x, *conditions = inputs(unet)
                evaluation = (unet, (axis,), scale * x, *conditions, hooks)
                expected = alone.predict(*evaluation)
                assert torch.equal(shared.predict(*evaluation, early=early), expected)


@torch.no_grad()
@pytest.mark.parametrize("layer", ["d1", "m0", "u0", LAYERS[-1]])
def test_the_size_of_what_is_kept(unet, layer):
    early = EarlyFeatures(NUMBERS[layer], slice(0, FRAMES))
    unet.predict(*inputs(unet), early=early)
    found = [tuple(x.shape) for x in early.begin()]
    sizes = kept_before(tiny.UNET, NUMBERS[layer], WHOLE)
    assert found == [(FRAMES, width, 8 >> level, 16 >> level) for width, level in sizes]
    assert kept_before(tiny.UNET, NUMBERS[layer], Pieces(skips_on_device=False)) == sizes[-1:]


def test_the_first_stage_that_hooks_change(unet):
    places = unet.places
    hooks = [skipped("space", "u1", "m0"), skipped("time", "u0"), NO_HOOKS]
    assert first_changed(hooks, places) == NUMBERS["m0"]
    assert first_changed([both(hooks[1], Sharpened(2.0))], places) == 0
    assert first_changed([NO_HOOKS], places) == first_changed([], places) == len(places)
