"""Inputs of nodes, from the rows of the settings."""

from comfy_api.v0_0_2 import io

from ..clips.choices import HIGHEST_SIGMA
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

LABELS = {
    "motion_bucket_id": "motion bucket",
    "motion_amount": "motion in words",
    "noise_aug": "picture noise",
    "shape": "guidance shape",
    "min_guidance": "min guidance",
    "max_guidance": "max guidance",
    "interval_low": "guided from sigma",
    "interval_high": "guided up to sigma",
    "method": "guidance method",
    "parallel": "apg parallel share",
    "limit": "apg limit",
    "momentum": "apg momentum",
    "spatial": "spatial strength",
    "temporal": "temporal strength",
    "layers": "skipped layers",
    "rescale": "rescale contrast",
    "rescale_over": "rescale over",
    "sigma_min": "sigma min",
    "sigma_max": "sigma max",
    "rho": "karras bend (rho)",
    "start_at": "start at sigma",
    "until": "follow down to sigma",
    "between": "way between pictures",
    "long": "way to length",
    "match": "match colours",
    "sharpness": "temporal sharpness",
    "positions": "frame positions",
    "share": "share of detail",
    "down_to": "hidden down to sigma",
    "interval": "whole network every",
    "weighting": "control weighting",
    "speed": "camera speed",
    "keep_first": "keep first frame",
    "ring": "decode as a loop",
}
"""What the page calls inputs whose names in a graph say little, or are no words."""


def setting(name: str, as_named: str = "", **changes) -> io.Input:
    """The input of a setting, under another name if any; `changes` replace the row's own options.

    Its tooltip has the row's words, and the usual value in the words of the pages. A node brings the default
    of a row without one. In a graph every input has a value, so 0 may mean the checkpoint's own.
    """
    field = FIELDS[name]
    make, options = _FORMS[type(field.kind)](field.kind)
    if field.default is not None:
        options["default"] = field.default
    usual = f" Usual: {field.usual}." if field.usual else ""
    options["tooltip"] = f"{field.words[0].upper()}{field.words[1:]}.{usual}"
    if (as_named or name) in LABELS:
        options["display_name"] = LABELS[as_named or name]
    return make(as_named or name, **(options | changes))


def own_or_chosen(name: str, as_named: str = "", **changes) -> io.Input:
    """The input of a setting that may be left at 0, the checkpoint's own."""
    return setting(name, as_named, default=0, min=0, optional=True, advanced=True, **changes)


def own_id(node: type[io.ComfyNode]) -> str | None:
    """The id of a node in its graph, where its schema asks for it; None where a script runs one alone."""
    return node.hidden and node.hidden.unique_id


def seed_input() -> io.Int.Input:
    """The seed of a whole clip."""
    return setting("seed", control_after_generate=True)


def interval_inputs(elsewhere: str) -> list:
    """The noise levels of guidance, and in words how it is elsewhere."""
    low = "The lowest noise level (sigma) with this guidance; 0 for all."
    high = f"The highest noise level (sigma) with this guidance, above 700 for all; {elsewhere}."
    return [
        setting("guidance_interval", "interval_low", default=0.0, advanced=True, tooltip=low),
        setting("guidance_interval", "interval_high", default=HIGHEST_SIGMA, advanced=True, tooltip=high),
    ]


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
