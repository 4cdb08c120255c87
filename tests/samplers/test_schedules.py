"""Karras, exponential, Align Your Steps, AnimateLCM and given levels, against numpy and diffusers."""

import re

import hypothesis
import numpy as np
import pytest
import torch
from diffusers import CMStochasticIterativeScheduler, EDMEulerScheduler, EulerDiscreteScheduler
from hypothesis import strategies as st

from stillmotion.samplers import schedules
from support import golden_family

PUBLISHED_SVD = {  # scheduler_config.json of stabilityai/stable-video-diffusion-img2vid-xt
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}
ALIGN_YOUR_STEPS = [700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002]  # for SVD
STEPS = [1, 2, 3, 4, 8, 10, 25, 30, 50]
ONE_ULP = 1.2e-7


def karras_in_numpy(steps: int, low: float, high: float, rho: float) -> np.ndarray:
    """Equation (5) as it is printed, with its final zero."""
    i = np.arange(steps, dtype=np.float64)
    root = high ** (1 / rho) + i / max(steps - 1, 1) * (low ** (1 / rho) - high ** (1 / rho))
    return np.append(root**rho, 0)


def assert_levels(levels: torch.Tensor, expected) -> None:
    np.testing.assert_allclose(levels.double().numpy(), expected, rtol=ONE_ULP, atol=0)


def assert_is_a_schedule(levels: torch.Tensor, steps: int) -> None:
    assert levels.dtype == torch.float32
    assert levels.shape == (steps + 1,)
    assert levels.isfinite().all()
    assert (levels[1:] < levels[:-1]).all()
    assert levels[-1] == 0


@pytest.mark.parametrize("steps", STEPS)
def test_karras_is_the_formula_with_the_levels_of_svd(steps: int):
    assert_levels(schedules.karras(steps), karras_in_numpy(steps, 0.002, 700, 7))


@pytest.mark.parametrize("steps", [2, 7, 25])
@pytest.mark.parametrize("low, high", [(0.002, 80), (0.0292, 14.6146), (1, 2)])
@pytest.mark.parametrize("rho", [1, 3, 7, 7.5, 20])
def test_karras_is_the_formula_for_any_range_and_rho(steps: int, low: float, high: float, rho: float):
    assert_levels(schedules.karras(steps, low, high, rho), karras_in_numpy(steps, low, high, rho))


def test_karras_with_rho_1_takes_equal_steps():
    assert_levels(schedules.karras(5, sigma_min=2, sigma_max=10, rho=1), [10, 8, 6, 4, 2, 0])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("steps", STEPS)
def test_karras_is_the_published_scheduler_of_svd(steps: int):
    scheduler = EulerDiscreteScheduler(**PUBLISHED_SVD)
    scheduler.set_timesteps(steps)
    torch.testing.assert_close(schedules.karras(steps), scheduler.sigmas, rtol=3e-7, atol=0)


@pytest.mark.parametrize("steps", STEPS)
def test_exponential_is_a_geometric_series(steps: int):
    assert_levels(schedules.exponential(steps), np.append(np.geomspace(700, 0.002, steps), 0))


@pytest.mark.parametrize("low, high", [(0.002, 80), (0.0292, 14.6146), (1, 2)])
def test_exponential_is_a_geometric_series_for_any_range(low: float, high: float):
    assert_levels(schedules.exponential(9, low, high), np.append(np.geomspace(high, low, 9), 0))


def test_exponential_is_that_of_diffusers():
    scheduler = EDMEulerScheduler(sigma_min=0.01, sigma_max=50.0, sigma_schedule="exponential")
    scheduler.set_timesteps(12)
    torch.testing.assert_close(schedules.exponential(12, 0.01, 50), scheduler.sigmas, rtol=2e-6, atol=0)


def test_align_your_steps_at_10_steps_is_the_published_list_with_the_last_made_0():
    assert_levels(schedules.align_your_steps(10), [*ALIGN_YOUR_STEPS[:-1], 0])


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 9, 11, 20, 25, 37, 100])
def test_align_your_steps_interpolates_other_counts_in_log_space(steps: int):
    """As the authors write it: np.interp over the logarithms of the rising list."""
    known, wanted = np.linspace(0, 1, len(ALIGN_YOUR_STEPS)), np.linspace(0, 1, steps + 1)
    levels = np.exp(np.interp(wanted, known, np.log(ALIGN_YOUR_STEPS[::-1])))[::-1].copy()
    levels[-1] = 0
    assert_levels(schedules.align_your_steps(steps), levels)


def test_align_your_steps_at_5_and_20_steps_keeps_the_published_levels():
    assert_levels(schedules.align_your_steps(5), [*ALIGN_YOUR_STEPS[:-1:2], 0])
    assert_levels(schedules.align_your_steps(20)[::2], [*ALIGN_YOUR_STEPS[:-1], 0])


def test_align_your_steps_at_1_step_is_the_highest_level():
    assert_levels(schedules.align_your_steps(1), [700, 0])


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6, 7, 8, 13, 21, 39, 40])
def test_animate_lcm_takes_every_so_many_of_40_karras_levels(steps: int):
    forty = karras_in_numpy(40, 0.002, 700, 7)[:-1]
    assert_levels(schedules.animate_lcm(steps), [*forty[:: 40 // steps][:steps], 0])


@pytest.mark.parametrize("steps", [1, 3, 4, 8, 40])
def test_animate_lcm_has_the_levels_of_the_consistency_scheduler_of_diffusers(steps: int):
    scheduler = CMStochasticIterativeScheduler(
        num_train_timesteps=40, sigma_min=0.002, sigma_max=700.0, rho=7.0
    )
    scheduler.set_timesteps(steps)
    levels = schedules.animate_lcm(steps)
    torch.testing.assert_close(levels[:-1], scheduler.sigmas[:-1], rtol=ONE_ULP, atol=0)
    assert levels[-1] == 0  # where diffusers ends in sigma_min, and AnimateLCM's own scheduler in 0


def test_animate_lcm_at_40_steps_is_the_karras_schedule():
    assert_levels(schedules.animate_lcm(40), karras_in_numpy(40, 0.002, 700, 7))


def test_animate_lcm_refuses_more_steps_than_it_was_distilled_for():
    with pytest.raises(ValueError, match=r"steps is 41; the AnimateLCM schedule has at most 40"):
        schedules.animate_lcm(41)


@pytest.mark.parametrize(
    "levels, expected",
    [
        ([10, 5, 1, 0], [10, 5, 1, 0]),
        ([10, 5, 1], [10, 5, 1, 0]),
        ((10.5, 0.25), [10.5, 0.25, 0]),
        ([3], [3, 0]),
        ([3, 0], [3, 0]),
        ([3, -0.0], [3, 0]),
        (torch.tensor([3.0, 1.0]), [3, 1, 0]),
        (np.array([3.0, 1.0, 0.0]), [3, 1, 0]),
    ],
)
def test_given_levels_are_taken_as_they_are_and_end_in_0(levels, expected: list[float]):
    taken = schedules.listed(levels)
    assert taken.dtype == torch.float32
    assert taken.tolist() == expected


def test_a_given_list_is_left_as_it_was():
    levels = [3.0, 1.0, 0.0]
    schedules.listed(levels)
    assert levels == [3.0, 1.0, 0.0]


def test_an_empty_list_of_levels_is_refused():
    with pytest.raises(ValueError, match="the list of sigmas is empty; give at least one level above 0"):
        schedules.listed([])


@pytest.mark.parametrize(
    "levels, shown",
    [
        ([0], "0"),
        ([0, 0], "0, 0"),
        ([2, 0, 0], "2, 0, 0"),
        ([1, 2], "1, 2"),
        ([2, 1, 1, 0], "2, 1, 1, 0"),
        ([2, 0, 1], "2, 0, 1"),
        ([2, 1, -1], "2, 1, -1"),
        ([-1], "-1"),
        ([float("nan")], "nan"),
        ([2, float("nan"), 1], "2, nan, 1"),
        ([2, 1, float("nan")], "2, 1, nan"),
        ([float("nan"), 1, 0], "nan, 1, 0"),
        ([float("inf"), 1, 0], "inf, 1, 0"),
        ([float("inf")], "inf"),
        ([1, float("-inf")], "1, -inf"),
    ],
)
def test_given_levels_that_do_not_fall_or_are_no_levels_are_refused_and_shown(
    levels: list[float], shown: str
):
    with pytest.raises(ValueError) as refusal:
        schedules.listed(levels)
    assert f"the sigmas are {shown};" in str(refusal.value)
    assert "must fall" in str(refusal.value)
    assert "finite numbers above 0 (the last may be 0)" in str(refusal.value)


COUNTED = [schedules.karras, schedules.exponential, schedules.align_your_steps, schedules.animate_lcm]


@pytest.mark.parametrize("schedule", COUNTED)
@pytest.mark.parametrize("steps", [0, -1, -20])
def test_fewer_than_one_step_is_refused(schedule, steps: int):
    with pytest.raises(ValueError, match=rf"^steps is {steps}; at least 1 is needed\.$"):
        schedule(steps)


@pytest.mark.parametrize("schedule", [schedules.karras, schedules.exponential])
@pytest.mark.parametrize(
    "low, high",
    [
        (0.0, 700.0),
        (-1.0, 700.0),
        (2.0, 1.0),
        (1.0, 1.0),
        (0.002, float("inf")),
        (0.002, float("nan")),
        (float("nan"), 700.0),
    ],
)
def test_a_range_that_is_not_0_to_min_to_max_is_refused_with_both_ends(schedule, low: float, high: float):
    with pytest.raises(ValueError) as refusal:
        schedule(10, sigma_min=low, sigma_max=high)
    assert f"sigma_min is {low} and sigma_max {high};" in str(refusal.value)
    assert "0 < sigma_min < sigma_max" in str(refusal.value)


@pytest.mark.parametrize("rho", [0, -7, 0.3, 1e16, float("nan"), float("inf")])
def test_a_rho_beyond_what_float64_carries_is_refused(rho: float):
    with pytest.raises(ValueError, match=rf"^rho is {re.escape(str(rho))}; it must be from 0\.5 to 100"):
        schedules.karras(10, rho=rho)


counts = st.integers(1, 200)
lows, ratios = st.floats(1e-4, 1), st.floats(1.5, 1e5)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(counts, lows, ratios, st.floats(1, 20))
def test_karras_falls_strictly_from_max_over_min_to_0(steps: int, low: float, ratio: float, rho: float):
    levels = schedules.karras(steps, low, low * ratio, rho)
    assert_is_a_schedule(levels, steps)
    assert levels[0].item() == pytest.approx(low * ratio, rel=ONE_ULP)
    if steps > 1:
        assert levels[-2].item() == pytest.approx(low, rel=1e-6)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(counts, lows, ratios)
def test_exponential_falls_strictly_from_max_over_min_to_0(steps: int, low: float, ratio: float):
    levels = schedules.exponential(steps, low, low * ratio)
    assert_is_a_schedule(levels, steps)
    assert levels[0].item() == pytest.approx(low * ratio, rel=ONE_ULP)
    if steps > 1:
        assert levels[-2].item() == pytest.approx(low, rel=ONE_ULP)


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(counts)
def test_align_your_steps_falls_strictly_from_700_to_0(steps: int):
    levels = schedules.align_your_steps(steps)
    assert_is_a_schedule(levels, steps)
    assert levels[0] == 700


@pytest.mark.parametrize("steps", range(1, 41))
def test_animate_lcm_falls_strictly_from_700_to_0(steps: int):
    levels = schedules.animate_lcm(steps)
    assert_is_a_schedule(levels, steps)
    assert levels[0] == 700


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(st.sets(st.floats(2**-14, 2**14, width=32), min_size=1, max_size=50), st.booleans())
def test_any_falling_list_is_a_schedule_as_it_is(levels: set[float], with_zero: bool):
    falling = sorted(levels, reverse=True)
    taken = schedules.listed([*falling, 0.0] if with_zero else falling)
    assert_is_a_schedule(taken, len(falling))
    assert taken.tolist() == [*falling, 0.0]


@pytest.mark.parametrize("schedule", [schedules.karras, schedules.exponential])
def test_levels_that_float32_can_not_tell_apart_are_refused(schedule):
    with pytest.raises(
        ValueError, match="30 steps don't fit between sigma_max 1 and sigma_min 1; take fewer"
    ):
        schedule(30, 1.0, 1.000001)


@pytest.mark.parametrize("levels", [[2, 1.00000001, 1], [2, 1, 1e-50], [1e39, 1]])
def test_given_levels_that_float32_can_not_tell_apart_are_refused(levels):
    with pytest.raises(ValueError, match="they must fall from each to the next and be finite"):
        schedules.listed(levels)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6, 8])
def test_golden_family_animate_lcm(steps: int):
    golden_family.check(f"animatelcm.sigmas.{steps}", schedules.animate_lcm(steps))
