"""Inputs of nodes, from the rows of the settings."""

from comfy_api.v0_0_2 import io

from ..clips.curve import NameOrScales
from ..clips.fields import (
    Angles,
    Choice,
    Flag,
    Interval,
    NameOrNumbers,
    Number,
    OverSpaceAndTime,
    Poses,
    Rate,
    Several,
    Side,
    Whole,
)
from ..clips.settings import FIELDS


def setting(name: str, as_named: str = "", **changes) -> io.Input:
    """The input of a setting, under another name if any; `changes` replace the row's own options.

    A node brings the default of a row without one. In a graph every input has a value, so 0 may mean the
    checkpoint's own.
    """
    field = FIELDS[name]
    make, options = _FORMS[type(field.kind)](field.kind)
    if field.default is not None:
        options["default"] = field.default
    options["tooltip"] = f"{field.words[0].upper()}{field.words[1:]}."
    return make(as_named or name, **(options | changes))


def own_or_chosen(name: str, as_named: str = "", **changes) -> io.Input:
    """The input of a setting that may be left at 0, the checkpoint's own."""
    return setting(name, as_named, default=0, min=0, optional=True, advanced=True, **changes)


def _number(kind: Number | Interval | Angles | OverSpaceAndTime) -> tuple[type, dict]:
    return io.Float.Input, {"min": float(kind.lowest), "max": float(kind.highest), "step": kind.step}


def _whole(kind: Whole) -> tuple[type, dict]:
    return io.Int.Input, {"min": kind.lowest, "max": kind.highest, "step": kind.step}


def _choice(kind: Choice | NameOrNumbers | Poses) -> tuple[type, dict]:
    return io.Combo.Input, {"options": list(kind.names)}


def _several(kind: Several) -> tuple[type, dict]:
    return io.String.Input, {}


def _flag(kind: Flag) -> tuple[type, dict]:
    return io.Boolean.Input, {}


def _angles(kind: Angles) -> tuple[type, dict]:
    return (io.String.Input, {"default": ""}) if kind.each else _number(kind)


_FORMS = {
    Whole: _whole,
    Side: _whole,
    Number: _number,
    Rate: _number,
    Interval: _number,
    OverSpaceAndTime: _number,
    Several: _several,
    Choice: _choice,
    NameOrNumbers: _choice,
    NameOrScales: _choice,
    Poses: _choice,
    Angles: _angles,
    Flag: _flag,
}
