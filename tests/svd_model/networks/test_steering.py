"""Skipped and sharpened self-attention against numbers of the reference's UNet."""

import math

import pytest
import torch

from stillmotion.svd_model.networks.hooks import NO_HOOKS, both
from stillmotion.svd_model.networks.stages import UNetParams
from stillmotion.svd_model.networks.steering import Sharpened, Skipped, check_layers, spread
from stillmotion.svd_model.networks.unet import VideoUNet
from support import tiny
from support.golden_motion import check
from support.golden_time import NAMED

VIDEOS, FRAMES = 2, 5


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    return NAMED.fill(VideoUNet(tiny.UNET, device="meta")).double()


def evaluated(unet: VideoUNet, hooks, positions: torch.Tensor | None = None) -> torch.Tensor:
    x = NAMED.input("unet.x", (VIDEOS * FRAMES, 8, 16, 24)).double()
    context, y = (
        NAMED.input(name, shape).double().repeat_interleave(FRAMES, 0)
        for name, shape in (("unet.context", (VIDEOS, 1, 64)), ("unet.y", (VIDEOS, 768)))
    )
    timesteps = torch.full((len(x),), 0.25 * math.log(3.7), dtype=torch.float64)
    constants = unet.prepare(context, y, FRAMES, positions=positions)
    return unet.predict(x, unet.shifts(timesteps, constants), constants, hooks)


def test_golden_motion_unet(unet):
    check("unet.plain", evaluated(unet, NO_HOOKS))


@pytest.mark.parametrize(
    "axis, entry, layers",
    [
        ("space", "spatial.u0", ["u0"]),
        ("time", "temporal.u0", ["u0"]),
        ("space", "spatial.u4_u8", ["u4", "u8"]),
        ("time", "temporal.m0_u4", ["m0", "u4"]),
    ],
)
def test_golden_motion_skipped(unet, axis, entry, layers):
    check(f"unet.skip.{entry}", evaluated(unet, Skipped(axis, frozenset(layers))))


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_golden_motion_sharpened(unet, factor):
    check(f"unet.sharpness.{factor}", evaluated(unet, Sharpened(factor)))


def test_golden_motion_positions(unet):
    check("unet.positions.3", evaluated(unet, NO_HOOKS, spread(FRAMES, 3)))


def test_positions_of_as_many_frames_are_the_frames_numbers(unet):
    plain = evaluated(unet, NO_HOOKS)
    assert torch.equal(evaluated(unet, NO_HOOKS, spread(FRAMES, FRAMES)), plain)
    assert spread(1, 25).tolist() == [0]


def test_layers_are_named_by_their_part():
    """SVD's UNet has attention in six stages on the way down, in the middle, and in nine on the way up."""
    names = UNetParams().attention_names
    assert names == (*(f"d{n}" for n in range(6)), "m0", *(f"u{n}" for n in range(9)))
    places = {place.name: (place.part, place.index) for place in UNetParams().places()}
    assert places["u0"] == ("output", 3)
    check_layers("skip_layers", ["u0", "m0"], names)
    with pytest.raises(ValueError, match=r"skip_layers has u9, x; .* d0, d1"):
        check_layers("skip_layers", ["u9", "u0", "x"], names)


def test_hooks_of_equal_values_are_equal():
    skipped, sharpened = Skipped("space", frozenset(["u0"])), Sharpened(1.5)
    assert both(skipped, sharpened) == both(Skipped("space", frozenset(["u0"])), Sharpened(1.5))
    assert both(skipped, sharpened) != both(Skipped("time", frozenset(["u0"])), Sharpened(1.5))
    assert both(skipped, sharpened) != skipped
