"""Skipped and sharpened self-attention against numbers of the reference's UNet."""

import math

import pytest
import torch

from stillmotion.svd_model.networks.hooks import NO_HOOKS
from stillmotion.svd_model.networks.steering import Sharpened, Skipped
from stillmotion.svd_model.networks.unet import VideoUNet
from support import tiny
from support.golden_motion import check
from support.golden_time import NAMED

VIDEOS, FRAMES = 2, 5


@pytest.fixture(scope="module")
def unet() -> VideoUNet:
    return NAMED.fill(VideoUNet(tiny.UNET, device="meta")).double()


def numbers(unet: VideoUNet, *names: str) -> list[int]:
    """Transformers' numbers by their part's letter and their place among its transformers."""
    letters = {"d": "input", "m": "middle", "u": "output"}
    found = []
    for name in names:
        places = [
            place for place in unet.places if place.part == letters[name[0]] and place.number is not None
        ]
        found.append(places[int(name[1:])].number)
    return found


def evaluated(unet: VideoUNet, hooks) -> torch.Tensor:
    x = NAMED.input("unet.x", (VIDEOS * FRAMES, 8, 16, 24)).double()
    context, y = (
        NAMED.input(name, shape).double().repeat_interleave(FRAMES, 0)
        for name, shape in (("unet.context", (VIDEOS, 1, 64)), ("unet.y", (VIDEOS, 768)))
    )
    timesteps = torch.full((len(x),), 0.25 * math.log(3.7), dtype=torch.float64)
    return unet(x, timesteps, context, y, FRAMES, hooks)


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
    check(f"unet.skip.{entry}", evaluated(unet, Skipped(axis, numbers(unet, *layers))))


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_golden_motion_sharpened(unet, factor):
    check(f"unet.sharpness.{factor}", evaluated(unet, Sharpened(factor)))
