"""The checkpoint's defaults, and what the choices of the user become."""

import array
import copy
import json
import math
import pickle
from collections import deque
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stillmotion.clips.canvas import SIZE_STEP
from stillmotion.clips.settings import Settings
from stillmotion.svd_model.checkpoint import variants


@pytest.mark.parametrize(
    ("variant", "num_frames", "expected"),
    [
        # frames, width, height, steps, guidance, min, max, noise_aug (SVD.md, Variants)
        (variants.SVD_XT, None, (25, 1024, 576, 30, "linear", 1.5, 3.0, 0.02)),
        (variants.SVD_XT, 14, (14, 1024, 576, 25, "linear", 1.0, 2.5, 0.02)),
        (variants.SVD_XT_IMAGE_DECODER, None, (25, 1024, 576, 30, "linear", 1.5, 3.0, 0.02)),
        (variants.SV3D_U, None, (21, 576, 576, 50, "triangle", 1.0, 2.5, 1e-5)),
        (variants.SV3D_P, None, (21, 576, 576, 50, "triangle", 1.0, 2.5, 1e-5)),
    ],
)
def test_defaults_follow_the_checkpoint(variant, num_frames, expected):
    s = Settings(num_frames=num_frames).complete(variant)
    assert expected == (
        *(s.num_frames, s.width, s.height, s.steps),
        *(s.guidance, s.min_guidance, s.max_guidance, s.noise_aug),
    )
    assert s.fps == 6
    assert s.motion_bucket_id == (None if variant.orbit else 127)
    assert len(s.sigmas()) == s.steps + 1
    assert len(s.guidance_scales()) == s.num_frames


def test_what_is_given_stays():
    given = {
        "num_frames": 7,
        "width": 512,
        "height": 320,
        "steps": 9,
        "noise_aug": 0.0,
        "motion_bucket_id": 0,
    }
    s = Settings(**given, min_guidance=0.0, max_guidance=0.0).complete(variants.SVD_XT)
    assert {name: getattr(s, name) for name in given} == given
    assert s.guidance_scales().tolist() == [0.0] * 7


def test_completing_twice_changes_nothing():
    for variant in (variants.SVD_XT, variants.SV3D_U, variants.SV3D_P):
        for chosen in ({}, {"sampler": "lcm"}, {"sampler": "heun", "guidance": (1.0, 2.0), "num_frames": 2}):
            once = Settings(**chosen).complete(variant)
            assert once.complete(variant) == once


@pytest.mark.parametrize(
    ("chosen", "schedule", "steps"),
    [
        ({"sampler": "lcm"}, "animate_lcm", 4),
        ({"schedule": "animate_lcm"}, "animate_lcm", 4),
        ({"schedule": "align_your_steps"}, "align_your_steps", 10),
        ({"schedule": "exponential"}, "exponential", 30),
        ({"schedule": (700.0, 5.0, 0.0)}, (700.0, 5.0, 0.0), 2),
        ({"sampler": "lcm", "steps": 8}, "animate_lcm", 8),
    ],
)
def test_a_sampler_and_a_schedule_bring_their_own_steps(chosen, schedule, steps):
    s = Settings(**chosen).complete(variants.SVD_XT)
    assert (s.schedule, s.steps) == (schedule, steps)


def test_the_lcm_sampler_brings_its_weak_guidance():
    s = Settings(sampler="lcm").complete(variants.SVD_XT)
    assert (s.min_guidance, s.max_guidance) == (1.0, 1.2)


def test_sigma_bounds_reach_the_schedule():
    sigmas = Settings(sigma_min=0.1, sigma_max=80.0, rho=3.0, steps=5).complete(variants.SVD_XT).sigmas()
    assert sigmas[0].item() == pytest.approx(80)
    assert sigmas[-2].item() == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("guidance", "scales"),
    [
        ("constant", [3, 3, 3]),
        ("linear", [1, 2, 3]),
        ("triangle", [1, 3, 1]),
        ("trapezoid", [3, 3, 3]),
        ((5.0, 0.0, -1.0), [5, 0, -1]),
    ],
)
def test_shapes_of_guidance(guidance, scales):
    s = Settings(num_frames=3, guidance=guidance, min_guidance=1, max_guidance=3).complete(variants.SVD_XT)
    assert s.guidance_scales().tolist() == scales


@pytest.mark.parametrize(
    ("variant", "chosen", "message"),
    [
        (
            variants.SVD_XT,
            {"schedule": (5.0, 1.0), "steps": 7},
            "the list of sigmas makes 2; leave steps out",
        ),
        (
            variants.SVD_XT,
            {"schedule": (5.0, 1.0), "sigma_max": 7.0},
            "sigma_max can't be given with a given list",
        ),
        (variants.SVD_XT, {"schedule": "exponential", "rho": 7.0}, "rho can't be given with the exponential"),
        (variants.SVD_XT, {"schedule": "animate_lcm", "steps": 41}, "at most 40"),
        (variants.SVD_XT, {"azimuths": (1.0,)}, "azimuths goes with sv3d_p"),
        (variants.SV3D_U, {"elevation": 5.0}, "elevation goes with sv3d_p"),
        (variants.SV3D_U, {"motion_bucket_id": 5}, "motion_bucket_id goes with SVD"),
        (
            variants.SV3D_P,
            {"elevation": (1.0, 2.0)},
            "elevation has 2 angles; give one for each of the 21 frames",
        ),
        (variants.SV3D_P, {"azimuths": (1.0, 2.0)}, "azimuths has 2 angles"),
        (variants.SV3D_P, {"elevation": 91.0}, "elevation is 91.0; it must be a number from -90 to 90"),
        (variants.SVD_XT, {"num_frames": True}, "num_frames is True; it must be a whole number"),
        (variants.SVD_XT, {"num_frames": 2.0}, "num_frames is 2.0; it must be a whole number"),
        (variants.SVD_XT, {"fps": "6"}, "fps is '6'; it must be a number"),
        (variants.SVD_XT, {"seed": 2**64}, "seed is 18446744073709551616"),
    ],
)
def test_what_does_not_fit_is_refused(variant, chosen, message):
    with pytest.raises(ValueError, match=message):
        Settings(**chosen).complete(variant)


def test_a_schedule_and_a_list_of_scales_are_refused_together():
    chosen = Settings(schedule="exponential", rho=7.0, num_frames=3, guidance=(1.0, 2.0))
    with pytest.raises(ValueError, match=r"(?s)2 mistakes:.*rho can't be given.*3 frames"):
        chosen.complete(variants.SVD_XT)


@given(st.integers(1, 4096))
def test_a_size_is_accepted_or_the_nearest_one_is_named(width):
    if width % SIZE_STEP == 0:
        assert Settings(width=width).complete(variants.SVD_XT).width == width
        return
    with pytest.raises(ValueError, match="The nearest is") as refused:
        Settings(width=width).complete(variants.SVD_XT)
    nearest = int(str(refused.value).rstrip(".").split()[-1])
    assert nearest % SIZE_STEP == 0
    assert nearest > 0
    assert abs(nearest - width) <= SIZE_STEP // 2 or nearest == SIZE_STEP


def test_metadata_is_json_without_infinities():
    s = Settings(schedule=(5.0, 1.0)).complete(variants.SVD_XT)
    notes = json.loads(json.dumps(s.as_metadata(), allow_nan=False))
    assert notes["schedule"] == [5.0, 1.0]
    assert "guidance_interval" not in notes
    assert math.isinf(s.guidance_interval[1])


def test_lists_are_as_good_as_tuples():
    lists = Settings(num_frames=2, schedule=[700, 20, 1], guidance=[1.0, 2.0], guidance_interval=[0, 5])
    tuples = Settings(num_frames=2, schedule=(700, 20, 1), guidance=(1.0, 2.0), guidance_interval=(0, 5))
    assert lists.complete(variants.SVD_XT) == tuples.complete(variants.SVD_XT)
    assert lists.complete(variants.SVD_XT).sigmas().tolist() == [700, 20, 1, 0]


def test_one_scale_is_for_every_frame():
    s = Settings(num_frames=3, guidance=(2.5,)).complete(variants.SVD_XT)
    assert s.guidance_scales().tolist() == [2.5, 2.5, 2.5]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"schedule": {"sigmas": 1}}, "schedule is {'sigmas': 1}; accepted are karras"),
        ({"schedule": ("a", 1)}, "schedule holds 'a'; give numbers"),
        ({"fps": [6.0]}, r"fps is \(6.0,\); it must be a number"),
        ({"fps": np.array([6.0])}, r"fps is \(6.0,\); it must be a number"),
        ({"fps": np.bool_(True)}, "fps is True; it must be a number from 1 to 240"),
        ({"fps": torch.tensor(True)}, "fps is True; it must be a number from 1 to 240"),
        ({"fps": 6 + 0j}, r"fps is \(6\+0j\); it must be a number"),
        ({"fps": np.float32("nan")}, "fps is nan; it must be a number from 1 to 240"),
        ({"fps": Fraction(10**400)}, r"fps is Fraction\(1000.*; it must be a number from 1 to 240"),
        ({"noise_aug": Decimal("NaN")}, "noise_aug is nan; it must be a number from 0 to 10"),
        ({"noise_aug": math.inf}, "noise_aug is inf; it must be a number from 0 to 10"),
        ({"seed": None}, "seed is None; it must be a whole number from 0 to 18446744073709551615"),
        ({"seed": 10**400}, "seed is 1000.*; it must be a whole number from 0 to 18446744073709551615"),
        ({"seed": True}, "seed is True; it must be a whole number"),
        ({"seed": np.float64(3)}, "seed is 3.0; it must be a whole number"),
        ({"seed": Fraction(1, 2)}, "seed is 0.5; it must be a whole number"),
        ({"seed": torch.Generator()}, "seed is <torch.*Generator.*>; it must be a whole number"),
        ({"num_frames": 0}, "num_frames is 0; it must be a whole number from 1 to 1024"),
        ({"feature_cache": None}, "feature_cache is None; it must be a whole number from 1 to 10"),
        ({"sampler": ["euler"]}, r"sampler is \('euler',\); accepted are euler, heun"),
        ({"fit": ("crop", "pad")}, r"fit is \('crop', 'pad'\); accepted are crop, pad, stretch\."),
        ({"schedule": 5}, "schedule is 5; accepted are karras, .*, or the sigmas themselves, as in 700,50"),
        ({"schedule": []}, "schedule is an empty list; leave it out, or give numbers"),
        ({"guidance": np.array([])}, "guidance is an empty list; leave it out, or give numbers"),
        ({"guidance": ""}, "guidance is ''; accepted are constant, .*, or a curve of positions"),
        ({"guidance": math.nan}, "guidance is nan; it must be a number from -100 to 100"),
        ({"guidance": (1.0, 1e39)}, r"guidance is 1e\+39; it must be a number from -100 to 100"),
        ({"guidance": np.ones((2, 2))}, r"guidance holds \(1.0, 1.0\); give numbers"),
        (
            {"guidance": (s for s in (1.0, 2.0))},
            "guidance is <generator.*>; accepted are constant, .*, or a curve",
        ),
        ({"guidance": {1.0, 2.0}}, r"guidance is \{1.0, 2.0\}; accepted are constant, .*, or a curve"),
        ({"guidance_interval": 5.0}, "guidance_interval is 5.0; it must be two sigmas"),
        ({"guidance_interval": "05"}, "guidance_interval is '05'; it must be two sigmas"),
        ({"guidance_interval": ()}, "guidance_interval is an empty list; leave it out"),
        ({"guidance_interval": (math.nan, 5)}, "guidance_interval is nan to 5; it must be two sigmas"),
        ({"frame_wise_decode": "no"}, "frame_wise_decode is 'no'; it must be True or False"),
        ({"frame_wise_decode": None}, "frame_wise_decode is None; it must be True or False"),
        ({"guidance": (True,)}, "guidance holds True; give numbers"),
        ({"guidance_interval": ("a", 2)}, "guidance_interval holds 'a'; give numbers"),
        ({"guidance_interval": (1, 2, 3)}, "guidance_interval is 1 to 2 to 3; it must be two sigmas"),
    ],
)
def test_other_types_are_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        Settings(**chosen).complete(variants.SVD_XT)


def numbers_of_other_kinds(number) -> list:
    """The number as a caller may have it."""
    kinds = [np.float64, np.float32, np.float16, Fraction, Decimal, np.array, torch.tensor]
    whole = [np.int64, np.uint8, np.intp, Fraction, np.array, torch.tensor]
    return [kind(number) for kind in (whole if isinstance(number, int) else kinds)]


NUMBERS = {"fps": 7.5, "churn": 2.5, "noise_aug": 0.25, "sigma_min": 0.125, "sigma_max": 64.0, "rho": 6.5}
NUMBERS |= {
    "min_guidance": 1.25,
    "max_guidance": 2.75,
    "seed": 5,
    "num_frames": 9,
    "width": 128,
    "height": 64,
}
NUMBERS |= {"steps": 3, "motion_bucket_id": 99, "feature_cache": 2}


@pytest.mark.parametrize(("name", "number"), [*NUMBERS.items(), ("fps", 24), ("noise_aug", 1)])
def test_numbers_may_be_of_any_kind(name, number):
    expected = Settings(**{name: number}).complete(variants.SVD_XT)
    for other in numbers_of_other_kinds(number):
        if isinstance(other, Fraction) and isinstance(number, int) and name not in ("fps", "noise_aug"):
            continue  # a fraction is no whole number, were it one by its value
        s = Settings(**{name: other}).complete(variants.SVD_XT)
        assert s == expected, repr(other)
        assert type(getattr(s, name)) in (int, float)
        assert json.loads(json.dumps(s.as_metadata()))[name] == number


def test_film_rates_are_exact_enough_for_a_file():
    for rate in (Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)):
        s = Settings(fps=rate).complete(variants.SVD_XT)
        assert Fraction(s.fps).limit_denominator(1001) == rate
        assert s.as_metadata()["fps"] == float(rate)


SCALES = [1.0, 1.5, 2.0]


@pytest.mark.parametrize(
    "scales",
    [
        tuple(SCALES),
        deque(SCALES),
        array.array("d", SCALES),
        np.array(SCALES),
        np.array(SCALES, np.float16),
        [np.float32(scale) for scale in SCALES],
        [Fraction(scale) for scale in SCALES],
        [torch.tensor(scale) for scale in SCALES],
        torch.tensor(SCALES),
        torch.tensor(SCALES, dtype=torch.bfloat16, requires_grad=True),
    ],
    ids=repr,
)
def test_lists_may_be_of_any_kind(scales):
    s = Settings(num_frames=3, guidance=scales).complete(variants.SVD_XT)
    assert s == Settings(num_frames=3, guidance=SCALES).complete(variants.SVD_XT)
    assert json.loads(json.dumps(s.as_metadata()))["guidance"] == SCALES
    s = Settings(schedule=scales[::-1] if isinstance(scales, list) else list(scales)[::-1])
    assert s.complete(variants.SVD_XT).sigmas().tolist() == [2, 1.5, 1, 0]


def test_ranges_are_lists():
    angles = Settings(num_frames=3, azimuths=range(0, 270, 90), elevation=np.arange(3))
    s = angles.complete(variants.SV3D_P)
    assert (s.azimuths, s.elevation) == ((0, 90, 180), (0, 1, 2))


@pytest.mark.parametrize("scale", [2, 2.5, np.float32(2.5), Fraction(5, 2), np.array(2.5)])
def test_one_scale_needs_no_list(scale):
    s = Settings(num_frames=3, guidance=scale).complete(variants.SVD_XT)
    assert s.guidance_scales().tolist() == [float(scale)] * 3


def test_settings_may_be_a_dict():
    chosen = Settings(seed=3, guidance=SCALES, num_frames=3)
    assert Settings.of(chosen) is chosen
    assert Settings.of(None) == Settings()
    assert Settings.of({"seed": np.int64(3), "guidance": SCALES, "num_frames": 3}) == chosen
    complete = chosen.complete(variants.SVD_XT)
    again = Settings.of(json.loads(json.dumps(complete.as_metadata()))).complete(variants.SVD_XT)
    assert again == complete


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"sede": 3, "fps": 6}, "'sede' is no setting; there are num_frames, width, height"),
        ({3: 4}, "3 is no setting; there are num_frames"),
        ("seed=3", "settings is 'seed=3'; give Settings"),
        ([], r"settings is \[\]; give Settings"),
        (3, "settings is 3; give Settings"),
    ],
)
def test_other_settings_are_refused(chosen, message):
    with pytest.raises(ValueError, match=message):
        Settings.of(chosen)


def test_settings_can_be_copied_pickled_and_hashed():
    s = Settings(seed=np.int64(3), guidance=np.array(SCALES), num_frames=3).complete(variants.SVD_XT)
    for other in (copy.deepcopy(s), pickle.loads(pickle.dumps(s))):  # noqa: S301 (of our own)
        assert other == s and hash(other) == hash(s)
