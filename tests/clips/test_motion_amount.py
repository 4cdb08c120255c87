"""How much moves, in a word: what each stands for, and what it goes with."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest

from stillmotion.clips.motion_amount import AMOUNTS
from stillmotion.clips.settings import Settings
from stillmotion.headless.option_table import amounts
from stillmotion.svd_model.checkpoint.variants import SV3D_U, SVD_XT

PAGE = Path(__file__).parents[2] / "web" / "docs" / "StillmotionAnimate.md"
SMALL = replace(SVD_XT, width=128, height=128, num_frames=14)


def test_words_rise_and_the_usual_one_is_no_word_at_all():
    buckets = [amount.motion_bucket_id for amount in AMOUNTS.values()]
    assert all(less < more for less, more in itertools.pairwise(buckets))
    assert Settings(motion_amount="usual").complete(SVD_XT) == Settings().complete(SVD_XT)


@pytest.mark.parametrize(
    ("variant", "chosen", "sigma_max"),
    [
        (SVD_XT, {}, 100.0),
        (SMALL, {}, None),
        (SVD_XT, {"schedule": "align_your_steps"}, None),
        (SVD_XT, {"schedule": (50.0, 5.0, 0.5)}, None),
        (SVD_XT, {"preset": "AnimateLCM (4 steps)"}, None),
    ],
)
def test_a_word_stands_for_its_numbers_where_they_have_a_use(variant, chosen, sigma_max):
    complete = Settings(motion_amount="most", **chosen).complete(variant)
    assert (complete.motion_bucket_id, complete.sigma_max) == (255, sigma_max)
    assert complete.motion_amount is None and complete.complete(variant) == complete


@pytest.mark.parametrize("number", [{"motion_bucket_id": 127}, {"sigma_max": 300.0}])
def test_a_word_and_its_numbers_are_refused_together(number):
    with pytest.raises(ValueError, match=f"motion_amount is much, .*{next(iter(number))}"):
        Settings(motion_amount="much", **number).check()


def test_an_orbit_takes_no_amount():
    with pytest.raises(ValueError, match="motion_amount goes with"):
        Settings(motion_amount="much").complete(SV3D_U)


def test_the_nodes_page_has_the_table():
    rows = re.findall(r"^(\| `\w+` \| \d+), ([^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [f"{bucket} | {level} |" for bucket, level in rows] == amounts()
