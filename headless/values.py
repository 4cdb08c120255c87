"""Values on the command line: from text to what an option takes, or argparse's error with the reason."""

import argparse
import math
import os
import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

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
from ..clips.mistakes import did_you_mean
from ..clips.references import WEIGHT
from .engine.memory import parse_size
from .files.poses import read_poses

EMPTY = "the name is empty, as that of a variable of the shell that is not set"

_STRENGTH = re.compile(r"(.+):([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)", re.IGNORECASE | re.DOTALL)


def file_name(text: str) -> str:
    """A name that is not empty."""
    if not text:
        raise argparse.ArgumentTypeError(EMPTY)
    return text


def _with_numbers(text: str, most: int) -> tuple[str, list[float]]:
    """A name, and at most so many numbers behind it, each after a colon; a file's own name stays whole."""
    name, numbers = file_name(text), []
    while len(numbers) < most and not os.path.lexists(name) and (match := _STRENGTH.fullmatch(name)):
        name = match[1]
        numbers.insert(0, float(match[2]))
    return name, numbers


def lora(text: str) -> tuple[str, float, float | None]:
    """A file with its strengths, FILE[:STRENGTH[:TEMPORAL]]; the colon of a drive is the file's own."""
    file, numbers = _with_numbers(text, 2)
    if not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} has a strength beyond all numbers")
    if not os.path.lexists(file) and (there := _existing_part(file)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no file, nor {there} with one or two numbers, as in {there}:0.7"
        )
    return file, numbers[0] if numbers else 1.0, numbers[1] if len(numbers) > 1 else None


def reference(text: str) -> tuple[str, float]:
    """A picture with its weight, PICTURE[:WEIGHT]; the colon of a drive is the name's own."""
    name, numbers = _with_numbers(text, 1)
    weight = numbers[0] if numbers else 1.0
    for complaint in WEIGHT.complaints(weight):
        raise argparse.ArgumentTypeError(f"{text!r}: the weight {complaint}")
    if not os.path.lexists(name) and (there := _existing_part(name)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no picture, nor {there} with a weight, as in {there}:0.5"
        )
    return name, weight


def keyframe(text: str) -> tuple[int, str]:
    """A frame and its picture, N=PICTURE."""
    frame, equals, name = text.partition("=")
    if not equals or not re.fullmatch(r"\s*[+-]?\d{1,9}\s*", frame, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is no frame and picture such as 24=photo.png")
    return int(frame), file_name(name)


def _existing_part(name: str) -> str | None:
    """What stands before a colon of a name and is there, as the file of a strength that is no number."""
    parts = name.split(":")
    heads = (":".join(parts[:count]) for count in range(1, len(parts)))
    return next((head for head in heads if head and os.path.lexists(head)), None)


class Pair(argparse.Action):
    """Stores two numbers as a tuple, as the settings have it."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, tuple(values))


def size(text: str) -> int:
    """Bytes of a size such as 6GB."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def clip_size(text: str) -> tuple[int, int, int]:
    """Width, height and frames of a clip."""
    match = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})[x×](\d{1,6})", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no width, height and frames such as 1024x576x25")
    return tuple(map(int, match.groups()))


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def gpus(text: str) -> int:
    """A number of GPUs."""
    number = whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of GPUs from 1 on")
    return number


def number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def rate(text: str) -> float | Fraction:
    """Frames a second, which may be a fraction."""
    try:
        return Fraction(text) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is no number such as 6, 29.97 or 24000/1001") from None


def one_of(accepted: Iterable[str]) -> Callable[[str], str]:
    """The conversion to one of some words."""

    def convert(text: str) -> str:
        if text not in accepted:
            meant = did_you_mean(text, accepted)
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(accepted)}{meant}")
        return text

    return convert


def many_numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 10,20,30") from None


def numbers_or_one(text: str) -> float | tuple[float, ...]:
    """A number, or several between commas."""
    numbers = many_numbers(text)
    return numbers if len(numbers) > 1 else numbers[0]


def name_or_numbers(text: str) -> str | tuple[float, ...]:
    """A name, or numbers between commas."""
    try:
        return many_numbers(text)
    except argparse.ArgumentTypeError:
        return text


def name_or_poses(text: str) -> str | tuple:
    """A name of a camera track, or the poses in a .json file."""
    if not text.lower().endswith(".json"):
        return text
    try:
        return read_poses(Path(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


FORMS = {
    Whole: {"type": whole, "metavar": "N"},
    Side: {"type": whole, "metavar": "PIXELS"},
    Number: {"type": number, "metavar": "X"},
    Rate: {"type": rate, "metavar": "N"},
    Choice: {"metavar": "NAME"},
    NameOrNumbers: {"type": name_or_numbers, "metavar": "NAME"},
    NameOrScales: {"type": name_or_numbers, "metavar": "NAME"},
    Poses: {"type": name_or_poses, "metavar": "NAME"},
    Angles: {"type": numbers_or_one, "metavar": "DEG"},
    Interval: {"type": number, "nargs": 2, "action": Pair, "metavar": ("LOW", "HIGH")},
    OverSpaceAndTime: {"type": number, "nargs": 2, "action": Pair, "metavar": ("SPACE", "TIME")},
    Several: {"metavar": "NAMES"},
    Flag: {"action": "store_true"},
}
"""Options of argparse for each kind of setting: its conversion, and its placeholder in the help."""
