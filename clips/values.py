"""Plain numbers and lists, from all kinds that Python callers have."""

from collections.abc import Sequence
from decimal import Decimal
from numbers import Integral, Real


def plain(value):
    """An int, float or tuple for NumPy's and torch's numbers and lists, fractions, decimals and ranges.

    Everything that is neither a number nor a list is returned unchanged, so that a check can show it. Bools,
    which are no numbers here, and numbers that no float can hold are returned unchanged too.
    """
    if isinstance(value, bool | str | bytes | bytearray):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real | Decimal):
        try:
            return float(value)
        except OverflowError:
            return value
    if hasattr(value, "tolist"):  # an array or a tensor; without dimensions it gives its number
        content = value.tolist()
        return tuple(map(plain, content)) if isinstance(content, list) else content
    return tuple(map(plain, value)) if isinstance(value, Sequence) else value
