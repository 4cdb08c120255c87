"""Checks of values against a node's schema, with one sentence for each fault.

The host checks only numbers and choices that are set on a node. It does not check values that come over a
link, and NaN passes its comparisons.
"""

import errno
import functools
import math
from collections.abc import Callable
from numbers import Integral, Real

from ..clips.canvas import nearest_side

MOST_NAMED = 12
"""Choices named in a sentence; the others are counted."""


def checked(execute: Callable) -> Callable:
    """Decorates execute to raise ValueError for a value that its schema does not accept.

    Kinds of ValueError of our own become plain ones, with the same words; a full disk is said in a sentence.
    """

    @functools.wraps(execute)
    def run(cls, **values):
        for option in cls.define_schema().inputs:
            message = complaint(option, values[option.id]) if option.id in values else None
            if message:
                raise ValueError(message)
        try:
            return execute(cls, **values)
        except ValueError as error:
            if type(error) is ValueError:
                raise
            # The page shows the name of an error's class, in which the host has the whole path of the pack.
            raise ValueError(str(error)).with_traceback(error.__traceback__) from None
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            place = f" at {error.filename}" if error.filename else ""
            raise RuntimeError(
                f"no room is left on the disk{place}; delete files there, and run again."
            ) from error

    return run


def verdict(node, **values) -> bool | str:
    """Result of validate_inputs for the inputs it names: True, or a sentence. None, a link, passes.

    A node should name few inputs there: the host leaves named inputs to the node, and repeats the sentence
    for each of them.
    """
    options = {option.id: option for option in node.define_schema().inputs}
    for name, value in values.items():
        # The host has refused values of other types, or checks them once the link has a value.
        message = complaint(options[name], value) if isinstance(value, Integral) else None
        if message:
            return message
    return True


def complaint(option, value) -> str | None:
    """Sentence on the fault of an input's value, by its schema; None for an accepted value.

    Models, pictures and other inputs without a range pass; nodes check them themselves.
    """
    accepted = _ACCEPTED.get(option.get_io_type())
    fault = accepted(option, value) if accepted else None
    return None if fault is None else f"{option.id} is {value!r}; {fault}"


def _number(option, value, kind: type, name: str) -> str | None:
    of_kind = isinstance(value, kind) and not isinstance(value, bool)
    if of_kind and math.isfinite(value) and option.min <= value <= option.max:
        return None
    return f"it must be {name} from {_shown(option.min)} to {_shown(option.max)}."


def _whole(option, value) -> str | None:
    step = option.step or 1
    if step == 1:
        return _number(option, value, Integral, "a whole number")
    name = f"a multiple of {step}"
    message = _number(option, value, Integral, name)
    if message is None and value % step:
        message = f"it must be {name} from {option.min} to {option.max}."
    if message and isinstance(value, Integral):  # only the sides of a picture have steps
        message += f" The nearest is {nearest_side(value)}."
    return message


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
