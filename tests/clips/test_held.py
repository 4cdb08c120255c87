"""Clips that follow a motion: their levels, their defaults, and what they refuse."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.clips import held
from stillmotion.clips.plan import Plan
from stillmotion.clips.settings import Settings
from stillmotion.samplers.schedules import SCHEDULES, karras
from stillmotion.svd_model.checkpoint.variants import EXVIDEO, MOTIONCTRL_SVD, SV3D_U, SVD_XT, Variant

SMALL = Variant("svd_xt", "svd", True, num_frames=14, width=128, height=128)


@pytest.mark.parametrize(
    "schedule, steps, first, until",
    [
        ("karras", 50, 16, 21),
        ("karras", 25, 8, 11),
        ("karras", 30, 10, 13),
        ("align_your_steps", 10, 1, 2),
        ("animate_lcm", 8, 3, 4),
    ],
)
def test_the_levels_of_a_clip_are_the_pages(schedule, steps, first, until):
    """docs of the method: from 75 until 31 at usual numbers of steps."""
    sigmas = SCHEDULES[schedule].make(steps)
    run = held.levels(sigmas, 75.0, 31.0)
    assert torch.equal(run, sigmas[first:])
    assert int((sigmas > 31.0).sum()) == until


def test_a_level_equal_to_a_number_is_the_first_of_its_part():
    sigmas = torch.tensor([700.0, 75.0, 50.0, 31.0, 1.0, 0.0])
    assert held.levels(sigmas, 75.0, 31.0).tolist() == [75.0, 50.0, 31.0, 1.0, 0.0]
    assert held.levels(sigmas, 31.0, 31.0).tolist() == [31.0, 1.0, 0.0]
    with pytest.raises(ValueError, match=r"lies between \(…, 75, 50, 31, 1, …\)"):
        held.levels(sigmas, 49.0, 40.0)


@given(
    st.integers(1, 60),
    st.floats(0.01, 1000),
    st.one_of(st.floats(0, 1000), st.just(None)),
)
@settings(max_examples=60, deadline=None)
def test_levels_are_the_rest_of_the_schedule_or_refused(steps, hold_from, hold_until):
    """hold_until None: as high as hold_from."""
    sigmas, hold_until = karras(steps), hold_from if hold_until is None else hold_until
    between = [sigma for sigma in sigmas.tolist() if hold_until < sigma <= hold_from]
    accepted = bool(between) or (hold_until == hold_from >= sigmas[-2])
    try:
        run = held.levels(sigmas, hold_from, hold_until)
    except ValueError:
        assert not accepted
    else:
        assert accepted and len(run) > 1
        assert torch.equal(run, sigmas[-len(run) :]) and run[0] <= hold_from
        assert len(run) == len(sigmas) or sigmas[-len(run) - 1] > hold_from


def test_equal_numbers_are_a_start_without_a_hold():
    sigmas = karras(10)
    run = held.levels(sigmas, 31.0, 31.0)
    assert run[0] <= 31 < sigmas[len(sigmas) - len(run) - 1]


@pytest.mark.parametrize(
    "hold, words",
    [
        ((75.0, 71.0), "hold_from is 75 and hold_until 71, and no noise level lies between"),
        ((10.0, 20.0), "hold_from is 10 and hold_until 20; give the higher one first"),
        ((0.0015, 0.0), "hold_from is 0.0015, and the lowest of the 10 noise levels is 0.002; give a higher"),
    ],
)
def test_levels_at_which_nothing_is_followed_are_refused(hold, words):
    with pytest.raises(ValueError, match=words):
        held.levels(karras(10), *hold)


def test_defaults_follow_the_checkpoint_and_a_motion_is_calm():
    plan = Plan.of(Settings(steps=50), SVD_XT, moves=True)
    assert (plan.settings.hold_from, plan.settings.hold_until) == (75.0, 31.0)
    assert plan.settings.motion_bucket_id == 17 and len(plan.sigmas) == 35 and plan.settings.steps == 50
    small = Plan.of(Settings(), SMALL, moves=True).settings
    assert (small.hold_from, small.hold_until) == (12.0, 0.1)
    assert Plan.of(Settings(motion_bucket_id=99), SVD_XT, moves=True).settings.motion_bucket_id == 99


def test_a_frozen_part_alone_changes_no_number():
    plain, frozen = Plan.of(Settings(), SVD_XT), Plan.of(Settings(), SVD_XT, freezes=True)
    assert plain.settings == frozen.settings and torch.equal(plain.sigmas, frozen.sigmas)
    assert plain.settings.hold_from is None and "hold_from" not in plain.settings.as_metadata()


def test_other_checkpoints_of_svds_kind_follow_a_motion_too():
    for variant in (EXVIDEO, MOTIONCTRL_SVD):
        assert Plan.of(Settings(), variant, moves=True).settings.hold_from == 75.0


@pytest.mark.parametrize(
    "variant, chosen, options, words",
    [
        (SVD_XT, {"hold_from": 50.0}, {}, "hold_from goes with a motion"),
        (SVD_XT, {"hold_until": 50.0}, {"freezes": True}, "hold_until goes with a motion"),
        (SV3D_U, {}, {"moves": True}, "a motion goes with SVD; this checkpoint"),
        (SV3D_U, {}, {"freezes": True}, "a frozen part goes with SVD"),
        (SVD_XT, {}, {"moves": True, "end_frame": True}, "a motion can't go with an end frame"),
        (SVD_XT, {"loop": "shift"}, {"moves": True}, "a motion can't go with the loop shift"),
        (SVD_XT, {"num_frames": 40}, {"moves": True}, "can't go with long chain, whose 40 frames"),
        (SVD_XT, {"hold_from": float("nan")}, {"moves": True}, "hold_from is nan; it must be a number"),
        (SVD_XT, {"sampler": "lcm"}, {"moves": True}, "no noise level lies between"),
    ],
)
def test_what_does_not_go_with_a_motion_is_refused(variant, chosen, options, words):
    with pytest.raises(ValueError, match=words):
        Plan.of(Settings(**chosen), variant, **options)


@pytest.mark.parametrize("long", ["windows", "freenoise", "whole"])
def test_a_clip_of_any_length_follows_a_motion_where_its_frames_are_one_runs(long):
    assert Plan.of(Settings(num_frames=40, long=long), SVD_XT, moves=True).settings.hold_from == 75.0
