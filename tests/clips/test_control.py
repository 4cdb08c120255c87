"""Control of a clip: noise levels of its ends, and its pictures."""

import math

import pytest
import torch

from stillmotion.clips import control
from stillmotion.clips.control import Control, sigma_at
from stillmotion.clips.plan import Plan
from stillmotion.clips.settings import Settings
from stillmotion.svd_model.checkpoint.variants import SVD_XT

SMALL = {"num_frames": 3, "width": 128, "height": 64}


def pictures(count: int):
    return (torch.full((3, 64, 128), number / 10) for number in range(count))


def plan(**settings) -> Plan:
    return Plan.of(Settings(**SMALL | settings), SVD_XT)


def test_fractions_run_along_the_logarithm_of_sigma():
    assert sigma_at(0) == math.inf
    assert sigma_at(1) == 0
    assert sigma_at(0.5) == pytest.approx(math.sqrt(700 * 0.002), rel=1e-12)
    assert sigma_at(0.25) == pytest.approx(700**0.75 * 0.002**0.25, rel=1e-12)


def test_a_control_acts_from_its_first_to_its_last_level():
    chosen = Control(torch.zeros(1), 1.0, "author", 10.0, 2.0)
    assert [chosen.acts_at(sigma) for sigma in (10.1, 10.0, 5.0, 2.0, 1.9)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_each_frame_gets_its_picture_at_the_size_of_the_clip():
    fitted = plan().control_pictures(pictures(3))
    assert fitted.shape == (3, 3, 64, 128)
    assert torch.allclose(fitted[:, 0, 0, 0], torch.tensor([-1.0, -0.8, -0.6]))


def test_a_single_picture_serves_all_frames():
    fitted = plan().control_pictures([torch.rand(4, 100, 300)])
    assert fitted.shape == (3, 3, 64, 128)
    assert torch.equal(fitted[0], fitted[2])


@pytest.mark.parametrize(("count", "said"), [(0, "0"), (2, "2"), (4, "4"), (1100, "more than 1024")])
def test_another_number_is_refused_with_both(count, said):
    with pytest.raises(ValueError, match=f"there are {said} control frames for a clip of 3 frames"):
        plan().control_pictures(pictures(count))


def test_a_run_has_the_control_of_the_settings():
    chosen = {"control_strength": 0.5, "control_start": 0.25, "control_end": 0.5, "control_weighting": "once"}
    made, frames = plan(**chosen), torch.zeros(3, 3, 64, 128)
    conditions = made.conditions(torch.zeros(1, 1, 8), torch.zeros(1, 4, 8, 16))
    run = made.run(conditions, pictures=frames)
    assert (run.control.strength, run.control.weighting) == (0.5, "once")
    assert (run.control.first_sigma, run.control.last_sigma) == (sigma_at(0.25), sigma_at(0.5))
    assert made.run(conditions).control is None
    usual = plan().run(conditions, pictures=frames).control
    assert (usual.strength, usual.weighting, usual.first_sigma, usual.last_sigma) == (
        1,
        "author",
        math.inf,
        0,
    )


def test_settings_of_control_without_one_are_refused():
    plan().refuse_control()
    with pytest.raises(ValueError, match="control_end goes with a ControlNet"):
        plan(control_end=0.5).refuse_control()
    assert set(control.DEFAULTS) == {name for name in Settings.__dataclass_fields__ if "control" in name}


def test_an_end_before_the_start_is_refused():
    with pytest.raises(ValueError, match=r"control_start is 0\.6 and control_end 0\.5"):
        plan(control_start=0.6, control_end=0.5)
