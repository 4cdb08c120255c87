"""Fields: the rows of a table of settings, and the kinds of value that a row accepts.

A row is the only place that names a setting: the command line makes an option of it, a node an input, the
settings a check, and the pages a line.
"""

import dataclasses
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from .canvas import LARGEST_SIDE, SIZE_STEP, nearest_side
from .mistakes import did_you_mean


def is_number(value) -> bool:
    """Whether a value is a float, or an int that can be one; a bool is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) <= sys.float_info.max
    return isinstance(value, float)


class Kind(ABC):
    """A kind of value that a setting accepts."""

    @property
    @abstractmethod
    def accepted(self) -> str:
        """The accepted values in words."""

    @abstractmethod
    def complaints(self, value) -> Iterator[str]:
        """A sentence for each fault of a value, without its subject, which is the setting's name."""


@dataclass(frozen=True)
class Number(Kind):
    """A number of any kind within a range; `step` is the stride of a spinner in a node."""

    lowest: float
    highest: float
    step: float | None = None

    @property
    def accepted(self) -> str:
        return f"a number from {self.lowest:g} to {self.highest:g}"

    def complaints(self, value) -> Iterator[str]:
        if not (is_number(value) and self.lowest <= value <= self.highest):  # no NaN is in any range
            yield f"is {shortened(value)}; it must be {self.accepted}."


class Rate(Number):
    """A number of something a second, which a user may write as a fraction: 24000/1001."""


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number within a range."""

    lowest: int
    highest: int
    step: int = 1

    @property
    def accepted(self) -> str:
        return f"a whole number from {self.lowest} to {self.highest}"

    def complaints(self, value) -> Iterator[str]:
        if not (_is_whole(value) and self.lowest <= value <= self.highest):
            yield f"is {shortened(value)}; it must be {self.accepted}."


@dataclass(frozen=True)
class Side(Kind):
    """A width or a height in pixels."""

    lowest: int = SIZE_STEP
    highest: int = LARGEST_SIDE
    step: int = SIZE_STEP

    @property
    def accepted(self) -> str:
        return f"a multiple of {self.step} from {self.lowest} to {self.highest}"

    def complaints(self, value) -> Iterator[str]:
        whole = _is_whole(value)
        if not (whole and self.lowest <= value <= self.highest and value % self.step == 0):
            nearest = f" The nearest is {nearest_side(value)}." if whole else ""
            yield f"is {shortened(value)}; it must be {self.accepted}.{nearest}"


@dataclass(frozen=True)
class Choice(Kind):
    """One of several names."""

    names: tuple[str, ...]

    @property
    def accepted(self) -> str:
        return ", ".join(self.names)

    def complaints(self, value) -> Iterator[str]:
        if value not in self.names:
            meant = did_you_mean(value, self.names) or "."
            yield f"is {shortened(value)}; accepted are {self.accepted}{meant}"


@dataclass(frozen=True)
class NameOrNumbers(Kind):
    """One of several names, or a list of numbers, each within a range if any; `example` shows such a list."""

    names: tuple[str, ...]
    number: Number | None
    example: str

    @property
    def accepted(self) -> str:
        return f"{', '.join(self.names)}, or {self.example}"

    def complaints(self, value) -> Iterator[str]:
        if isinstance(value, tuple):
            yield from _complaints_of_list(value, self.number)
        elif value not in self.names:
            meant = did_you_mean(value, self.names) or "."
            yield f"is {shortened(value)}; accepted are {self.accepted}{meant}"


@dataclass(frozen=True)
class Poses(Kind):
    """One of several names, or a list of poses: rotation and position, 12 numbers each or 3 rows of 4."""

    names: tuple[str, ...]
    number: Number

    @property
    def accepted(self) -> str:
        return f"{', '.join(self.names)}, or a list of poses, 12 numbers for each frame"

    def complaints(self, value) -> Iterator[str]:
        if not isinstance(value, tuple):
            if value not in self.names:
                meant = did_you_mean(value, self.names) or "."
                names = ", ".join(self.names)
                yield f"is {shortened(value)}; accepted are {names}, or a list of poses{meant}"
        elif value == ():
            yield "is an empty list; leave it out, or give poses."
        else:
            yield from self._complaints_of_poses(value)

    def _complaints_of_poses(self, poses: tuple) -> Iterator[str]:
        """A sentence about the first pose with a fault."""
        for count, pose in enumerate(poses, start=1):
            rows = pose if isinstance(pose, tuple) else (pose,)
            shape = tuple(len(row) if isinstance(row, tuple) else 1 for row in rows)
            numbers = [number for row in rows for number in (row if isinstance(row, tuple) else (row,))]
            if shape not in ((1,) * 12, (4, 4, 4)) or any(map(any, map(self.number.complaints, numbers))):
                yield (
                    f"has as pose {count} {shortened(pose)}; a pose is 12 numbers, or 3 rows of 4: the "
                    f"rotation and the position, each {self.number.accepted}."
                )
                return


@dataclass(frozen=True)
class Angles(Kind):
    """Degrees, one for each frame; unless `each`, one number may stand for all frames."""

    lowest: float
    highest: float
    step: float | None = None
    each: bool = False

    @property
    def accepted(self) -> str:
        return f"{'' if self.each else 'one or '}one for each frame, from {self.lowest:g} to {self.highest:g}"

    def complaints(self, value) -> Iterator[str]:
        yield from _complaints_of_list(value, Number(self.lowest, self.highest))


@dataclass(frozen=True)
class Interval(Kind):
    """Two noise levels, the lower one first; `highest` bounds a spinner, and infinity is accepted too."""

    lowest: float
    highest: float
    step: float | None = None

    @property
    def accepted(self) -> str:
        return "two sigmas, the lower one first"

    def complaints(self, value) -> Iterator[str]:
        many = isinstance(value, tuple)
        odd = list(_odd_elements(value)) if many else []
        if odd:
            yield from odd
        elif not many or len(value) != 2 or not self.lowest <= value[0] <= value[1]:
            shown = " to ".join(f"{sigma:g}" for sigma in value) if many else repr(value)
            yield f"is {shown}; it must be {self.accepted}."


@dataclass(frozen=True)
class OverSpaceAndTime(Kind):
    """Two numbers within a range: one for attention over space, and one over time."""

    lowest: float
    highest: float
    step: float | None = None

    @property
    def accepted(self) -> str:
        return f"two numbers, each from {self.lowest:g} to {self.highest:g}"

    def complaints(self, value) -> Iterator[str]:
        number = Number(self.lowest, self.highest)
        many = isinstance(value, tuple) and len(value) == 2
        if not many or any(map(any, map(number.complaints, value))):
            yield f"is {shortened(value)}; it must be {self.accepted}."


@dataclass(frozen=True)
class Several(Kind):
    """One or more of some names, each once."""

    names: tuple[str, ...]

    @property
    def accepted(self) -> str:
        return f"one or more of {', '.join(self.names)}, as in {self.names[0]},{self.names[-1]}"

    def complaints(self, value) -> Iterator[str]:
        named = isinstance(value, tuple) and value and all(name in self.names for name in value)
        if not named or len(set(value)) < len(value):
            yield f"is {shortened(value)}; it must be {self.accepted}, each once."


@dataclass(frozen=True)
class Flag(Kind):
    """Yes or no."""

    @property
    def accepted(self) -> str:
        return "True or False"

    def complaints(self, value) -> Iterator[str]:
        if not isinstance(value, bool):
            yield f"is {shortened(value)}; it must be {self.accepted}."


@dataclass(frozen=True)
class Field:
    """A setting: its name and default, what it accepts, and its words.

    `words` describe it in a phrase. `usual` describes the value that the checkpoint or the schedule brings
    where the default is None. `option` is its name on the command line, where that is another. `only` lists
    the conditionings of the variants that take it, empty for all.
    """

    name: str
    default: object
    kind: Kind
    group: str
    words: str
    usual: str = ""
    option: str = ""
    only: tuple[str, ...] = ()

    @property
    def shown_default(self) -> str:
        """The default in words, empty where there is none."""
        if self.default is None or self.default is False:
            return self.usual
        return f"{self.default:g}" if is_number(self.default) else str(self.default)

    def mistakes(self, value) -> Iterator[str]:
        """A sentence for each fault of a value; None passes where it is the default."""
        if value is None and self.default is None:
            return
        for complaint in self.kind.complaints(value):
            yield f"{self.name} {complaint}"


def setting(default, kind: Kind, group: str, words: str, **more):
    """The row of a setting in a dataclass; `more` are the other fields of Field."""
    return dataclasses.field(default=default, metadata={"kind": kind, "group": group, "words": words, **more})


def rows(table: type) -> dict[str, Field]:
    """The rows of a dataclass by their names."""
    return {row.name: Field(row.name, row.default, **row.metadata) for row in dataclasses.fields(table)}


def shortened(value) -> str:
    """A value in at most some 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # of an int of thousands of digits
        return "a value too long to write"
    return text if len(text) <= 60 else f"{text[:59]}…"


def _is_whole(value) -> bool:
    return is_number(value) and not isinstance(value, float)


def _complaints_of_list(value, number: Number | None) -> Iterator[str]:
    """Complaints about numbers in a list, or about one alone."""
    if not isinstance(value, tuple):
        yield from number.complaints(value)
        return
    odd = list(_odd_elements(value))
    yield from odd
    for element in value if number and not odd else ():
        yield from number.complaints(element)


def _odd_elements(value: tuple) -> Iterator[str]:
    if value == ():
        yield "is an empty list; leave it out, or give numbers."
    for element in value:
        if not is_number(element):
            yield f"holds {shortened(element)}; give numbers."
