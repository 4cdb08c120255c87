"""Rows of settings, and what each kind of value accepts."""

import math
from dataclasses import dataclass

import pytest

from stillmotion.clips.fields import (
    Angles,
    Choice,
    Flag,
    Interval,
    NameOrNumbers,
    Number,
    Rate,
    Side,
    Whole,
    rows,
    setting,
)

SHAPE = NameOrNumbers(("linear", "triangle"), Number(-1, 2), "numbers")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Number(0, 1), [0, 1, 0.5]),
        (Rate(1, 240), [23.976]),
        (Whole(1, 3), [1, 3]),
        (Side(), [64, 576, 4096]),
        (Choice(("a", "b")), ["a", "b"]),
        (SHAPE, ["linear", (0.0,), (-1, 2)]),
        (Angles(-90, 90), [5, (5, 6.0)]),
        (Interval(0, 10), [(0, 0), (0.0, math.inf)]),
        (Flag(), [True, False]),
    ],
)
def test_what_is_accepted_has_no_complaints(kind, values):
    assert [complaint for value in values for complaint in kind.complaints(value)] == []


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (Number(0, 1), 1.5, ["is 1.5; it must be a number from 0 to 1."]),
        (Number(0, 1), math.nan, ["is nan; it must be a number from 0 to 1."]),
        (Number(0, 1), True, ["is True; it must be a number from 0 to 1."]),
        (Whole(1, 3), 2.0, ["is 2.0; it must be a whole number from 1 to 3."]),
        (Side(), 100, ["is 100; it must be a multiple of 64 from 64 to 4096. The nearest is 128."]),
        (Side(), 64.0, ["is 64.0; it must be a multiple of 64 from 64 to 4096."]),
        (Choice(("crop", "pad")), "corp", ["is 'corp'; accepted are crop, pad; did you mean crop?"]),
        (SHAPE, 5, ["is 5; accepted are linear, triangle, or numbers."]),
        (
            SHAPE,
            (3, 0, -2),
            ["is 3; it must be a number from -1 to 2.", "is -2; it must be a number from -1 to 2."],
        ),
        (SHAPE, (3, "a"), ["holds 'a'; give numbers."]),
        (SHAPE, (), ["is an empty list; leave it out, or give numbers."]),
        (Angles(-90, 90), 91, ["is 91; it must be a number from -90 to 90."]),
        (Interval(0, 10), (2, 1), ["is 2 to 1; it must be two sigmas, the lower one first."]),
        (Flag(), 1, ["is 1; it must be True or False."]),
        (Number(0, 1), 10**400, [f"is 1{'0' * 58}…; it must be a number from 0 to 1."]),
        (Interval(0, 10), (0, 10**400), [f"holds 1{'0' * 58}…; give numbers."]),
    ],
)
def test_what_is_not_accepted_is_said(kind, value, said):
    assert list(kind.complaints(value)) == said


def test_a_number_too_long_to_write_is_said_too():
    said = list(Whole(1, 3).complaints(10**5000))
    assert said == ["is a value too long to write; it must be a whole number from 1 to 3."]


@dataclass
class Table:
    """A table of two rows."""

    size: int | None = setting(None, Whole(1, 9), "group", "how large", usual="7")
    rate: float = setting(6.0, Rate(1, 240), "group", "how fast", option="--speed")


def test_rows_are_read_off_a_dataclass():
    size, rate = rows(Table).values()
    assert (size.name, size.default, size.shown_default, size.only) == ("size", None, "7", ())
    assert (rate.name, rate.default, rate.shown_default, rate.option) == ("rate", 6.0, "6", "--speed")


def test_none_is_accepted_where_it_is_the_default():
    size, rate = rows(Table).values()
    assert list(size.mistakes(None)) == []
    assert list(rate.mistakes(None)) == ["rate is None; it must be a number from 1 to 240."]
