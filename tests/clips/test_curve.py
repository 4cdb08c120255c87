"""Scales over frames in words: lists and curves, of a table that the page's script reads too."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from stillmotion.clips.curve import Curve, parse
from stillmotion.clips.settings import Settings
from stillmotion.svd_model.checkpoint import variants

TABLE = json.loads((Path(__file__).parents[1] / "web" / "tables" / "curves.json").read_text())
READ = [row for row in TABLE if "numbers" in row]
REFUSED = [row for row in TABLE if "refused" in row]


@pytest.mark.parametrize("row", READ, ids=lambda row: row["text"])
def test_a_text_gives_the_numbers_of_the_table(row):
    """Written by SciPy's PCHIP and NumPy's interp, to 8 digits; scales are float32."""
    numbers = parse(row["text"]).scales(row["frames"]).tolist()
    assert numbers == pytest.approx(row["numbers"], rel=2**-24, abs=1e-8)


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["text"][:20])
def test_what_says_no_scales_is_refused_in_a_sentence(row):
    with pytest.raises(ValueError) as error:
        parse(row["text"])
    assert row["refused"] in str(error.value) and "\n" not in str(error.value)


def test_a_long_text_is_refused_unread():
    with pytest.raises(ValueError, match="70,000 characters"):
        parse("1" * 70_000)


@pytest.mark.parametrize("text", ["1" * 65_000 + "x", "0:1, 1:" + "1" * 65_000 + "x"])
def test_digits_without_end_are_no_number(text):
    """Read once: an expression that tries every split of them would take minutes."""
    with pytest.raises(ValueError, match=r"has as point 2|is '1111"):
        parse(text)


points = st.lists(st.tuples(st.integers(0, 1000), st.integers(-1000, 1000)), min_size=2, max_size=12)


@settings(max_examples=40, deadline=None)
@given(points, st.integers(1, 60))
def test_a_smooth_curve_is_scipys_and_stays_between_its_points(pairs, frames):
    values = {position / 1000: value / 10 for position, value in pairs}
    if len(values) < 2:
        return
    x = sorted(values)
    y = [values[position] for position in x]
    found = Curve(tuple(x), tuple(y), smooth=True).scales(frames).numpy()
    at = np.linspace(0, 1, frames).clip(x[0], x[-1])
    # Rounding of float32, and of float64 where points lie a thousandth apart.
    tolerance = 2**-24 * 100 + 1e-10
    assert abs(found - PchipInterpolator(x, y)(at)).max() <= tolerance
    right = np.searchsorted(x, at).clip(1, len(x) - 1)
    ends = np.array(y)[right - 1], np.array(y)[right]
    assert (found >= np.minimum(*ends) - tolerance).all()
    assert (found <= np.maximum(*ends) + tolerance).all()


def test_settings_take_a_curve_for_any_number_of_frames():
    for frames in (1, 3, 5):
        chosen = Settings(guidance="0:1, 0.5:3, 1:1", num_frames=frames).complete(variants.SVD_XT)
        assert chosen.guidance_scales().tolist() == [[1], [], [1, 3, 1], [], [1, 2, 3, 2, 1]][frames - 1]
        assert chosen.as_metadata()["guidance"] == "0:1, 0.5:3, 1:1"
        assert Settings.of(chosen.as_metadata()).complete(variants.SVD_XT) == chosen


def test_settings_say_what_is_wrong_with_a_curve():
    with pytest.raises(ValueError, match=r"^guidance has point 2 at 2; give a position from 0 to 1\.$"):
        Settings(guidance="0:1, 2:3").complete(variants.SVD_XT)
    with pytest.raises(ValueError, match=r"^guidance is 'linaer'; accepted are .*did you mean linear"):
        Settings(guidance="linaer").complete(variants.SVD_XT)
