"""Settings written as text, in the cells of a table and in sweeps."""

import argparse
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...clips.fields import (
    Angles,
    Field,
    Flag,
    Interval,
    NameOrNumbers,
    OverSpaceAndTime,
    Poses,
    Several,
)
from ...clips.mistakes import did_you_mean
from ...clips.settings import FIELDS
from ..values import FORMS, many_numbers
from .rows import Row

MOST_CLIPS_OF_A_ROW = 1_000_000

_LISTS = (Angles, Interval, NameOrNumbers, OverSpaceAndTime, Poses, Several)
_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")


def value_of(field: Field, text: str):
    """The value of a setting from its text; raises ValueError with the reason."""
    kind = field.kind
    if isinstance(kind, Flag):
        if text.lower() not in (*_YES, *_NO):
            raise ValueError(f"{field.name} is {text!r}; accepted are true and false.")
        return text.lower() in _YES
    if isinstance(kind, Poses):  # by name alone: a row opens no file but its picture
        return text
    pair = isinstance(kind, Interval | OverSpaceAndTime)
    convert = many_numbers if pair else FORMS[type(kind)].get("type", str)
    try:
        return convert(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{field.name}: {error}.") from error


class Sweep:
    """Values of a setting, each of which makes a clip of every row."""

    def __init__(self, text: str):
        name, equals, listed = text.partition("=")
        if name not in FIELDS:
            raise ValueError(f"--sweep {text}: {name!r} is no setting{did_you_mean(name, FIELDS) or '.'}")
        if not equals or not listed:
            raise ValueError(f"--sweep {text}: give values, as in seed=0:8 or motion_bucket_id=60,127.")
        self.name = name
        self.values: Sequence = _range(text, listed) or _listed(FIELDS[name], listed)


def _range(text: str, listed: str) -> range | None:
    """The numbers of START:STOP or START:STOP:STEP, without the STOP; None for another text."""
    try:
        numbers = range(*map(int, parts)) if len(parts := listed.split(":")) in (2, 3) else None
    except ValueError:
        return None
    if numbers is not None and not numbers:
        raise ValueError(f"--sweep {text} has no value: the first is included, the last is not.")
    if numbers is not None and (numbers[-1] - numbers[0]) // numbers.step >= MOST_CLIPS_OF_A_ROW:
        raise ValueError(f"--sweep {text} has too many values; at most {MOST_CLIPS_OF_A_ROW:,} are accepted.")
    return numbers


def _listed(field: Field, listed: str) -> list:
    separator = ";" if isinstance(field.kind, _LISTS) else ","
    return [value_of(field, part.strip()) for part in listed.split(separator)]


def sweeps_of(texts: Sequence[str]) -> list[Sweep]:
    """Sweeps of a command line; raises ValueError for two of one setting, and for too many clips."""
    sweeps = list(map(Sweep, texts))
    names = [sweep.name for sweep in sweeps]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"--sweep names {name} twice; put its values into one.")
    clips = math.prod(len(sweep.values) for sweep in sweeps)
    if clips > MOST_CLIPS_OF_A_ROW:
        raise ValueError(
            f"--sweep makes {clips:,} clips of a row; at most {MOST_CLIPS_OF_A_ROW:,} are accepted."
        )
    return sweeps


def swept(row: Row, sweeps: Sequence[Sweep]) -> Iterator[Row]:
    """The row once for each combination of the sweeps' values."""
    if not sweeps or row.fault:
        yield row
        return
    twice = [sweep.name for sweep in sweeps if sweep.name in row.settings]
    if twice:
        yield replace(
            row, fault=f"{row.id}: {' and '.join(twice)} stands in the row and in --sweep; give one."
        )
        return
    for values in itertools.product(*(sweep.values for sweep in sweeps)):
        chosen = dict(zip([sweep.name for sweep in sweeps], values, strict=True))
        label = ",".join(f"{name}={value}" for name, value in chosen.items())
        yield replace(row, id=f"{row.id}#{label}", settings={**row.settings, **chosen})
