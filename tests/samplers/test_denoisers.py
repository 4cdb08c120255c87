"""Denoisers made of denoisers: identities that hold for any denoiser."""

import torch

from stillmotion.samplers.denoisers import flipped, fused, shifted
from support.golden_time import SIGMAS, draw, ramp, time_picture

X, SIGMA = 4 * draw("time.x", 5, 4, 8, 12), SIGMAS[3]
FIRST, SECOND = (time_picture(name).guided(ramp(1, 3, 5)) for name in ("start", "end"))


def test_a_mean_with_all_the_weight_on_one_denoiser_is_this_one():
    assert torch.equal(fused(FIRST, SECOND, torch.ones(5))(X, SIGMA), FIRST(X, SIGMA))
    assert torch.equal(fused(FIRST, SECOND, torch.zeros(5))(X, SIGMA), SECOND(X, SIGMA))


def test_flipped_twice_is_the_denoiser():
    assert torch.equal(flipped(flipped(FIRST))(X, SIGMA), FIRST(X, SIGMA))


def test_a_shift_turns_the_ring_and_back():
    expected = FIRST(X.roll(-6, 0), SIGMA).roll(6, 0)  # the fourth step, two frames each
    assert torch.equal(shifted(FIRST, SIGMAS, 2, 5)(X, SIGMA), expected)
