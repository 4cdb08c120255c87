"""Values against a node's own inputs: what the host does not check, in one sentence for each fault.

The host compares the numbers and choices that are set on a node with the node's schema. Those that come over
a link it does not look at, and NaN passes its comparisons.
"""

import functools
import math
from collections.abc import Callable
from numbers import Integral, Real

from ..clips.canvas import nearest_side

MOST_NAMED = 12
"""Of a list of choices, in a sentence."""


def checked(execute: Callable) -> Callable:
    """An execute that first raises ValueError for a value that the node's inputs do not accept."""

    @functools.wraps(execute)
    def run(cls, **values):
        for option in cls.define_schema().inputs:
            said = complaint(option, values[option.id]) if option.id in values else None
            if said:
                raise ValueError(said)
        return execute(cls, **values)

    return run


def verdict(node, **values) -> bool | str:
    """What validate_inputs says of the values that it names: True or a sentence; None, a link, passes.

    A node names few inputs there: the host repeats what is said for every input that is named, whichever it
    is about, and leaves all of them to the node.
    """
    options = {option.id: option for option in node.define_schema().inputs}
    for name, value in values.items():
        # The host has refused what is no whole number already, or will know it later.
        said = complaint(options[name], value) if isinstance(value, Integral) else None
        if said:
            return said
    return True


def complaint(option, value) -> str | None:
    """What is wrong with the value of an input in a schema, as a sentence; None where nothing is.

    Models, pictures and other inputs without a range pass; the nodes look at those themselves.
    """
    accepted = _ACCEPTED.get(option.get_io_type())
    what = accepted(option, value) if accepted else None
    return None if what is None else f"{option.id} is {value!r}; {what}"


def _number(option, value, kind: type, name: str) -> str | None:
    right = isinstance(value, kind) and not isinstance(value, bool)
    if right and math.isfinite(value) and option.min <= value <= option.max:
        return None
    return f"it must be {name} from {_shown(option.min)} to {_shown(option.max)}."


def _whole(option, value) -> str | None:
    step = option.step or 1
    if step == 1:
        return _number(option, value, Integral, "a whole number")
    name = f"a multiple of {step}"
    said = _number(option, value, Integral, name)
    if said is None and value % step:
        said = f"it must be {name} from {option.min} to {option.max}."
    if said and isinstance(value, Integral):  # only the sides of a picture have steps
        said += f" The nearest is {nearest_side(value)}."
    return said


def _real(option, value) -> str | None:
    return _number(option, value, Real, "a number")


def _choice(option, value) -> str | None:
    if value in option.options:
        return None
    named = ", ".join(map(str, option.options[:MOST_NAMED]))
    more = len(option.options) - MOST_NAMED
    return f"accepted are {named} and {more} more." if more > 0 else f"accepted are {named}."


def _text(option, value) -> str | None:
    return None if isinstance(value, str) else "it must be text."


def _shown(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:.10g}"


_ACCEPTED = {"INT": _whole, "FLOAT": _real, "COMBO": _choice, "STRING": _text}
