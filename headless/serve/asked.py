"""What a request asks for: settings in JSON and a picture, checked before anything waits for the GPU."""

import json
import math
from io import BytesIO

from ...clips.settings import FIELDS
from ..batch.rows import OWN, Row, row_of
from ..files import images
from .limits import Limits, Refusal

MOST_SCANNED = 10**9
"""Pixels × scans of a progressive JPEG, each of which decodes the whole picture once more."""

_SCAN = b"\xff\xda"  # can't stand in a scan's own data


def row_of_request(text: bytes, name: str, limits: Limits) -> Row:
    """The row of settings in JSON for a picture of that name; raises Refusal, ValueError with all faults."""
    if len(text) > limits.settings:
        raise Refusal(413, f"settings have {len(text):,} bytes; at most {limits.settings:,} are accepted.")
    try:
        settings = json.loads(
            text.decode() or "{}", parse_float=_finite, parse_constant=_finite, object_pairs_hook=_once
        )
    except RecursionError:
        raise ValueError("settings are nested too deep; write one object of names and values.") from None
    except ValueError as error:
        raise ValueError(f"settings are no JSON ({error}); write one object of names and values.") from error
    if not isinstance(settings, dict):
        raise ValueError('settings are no object; write names and values, as in {"seed": 3}.')
    if len(settings) > len(FIELDS):  # or each would get a sentence
        raise ValueError(f"settings have {len(settings):,} names; there are {len(FIELDS)} settings.")
    foreign = [key for key in OWN if key in settings]
    if foreign:
        raise ValueError(f"{' and '.join(foreign)} is no setting; leave it out.")
    row = row_of({"image": name, **settings}, "settings")
    if row.fault:
        raise ValueError(row.fault)
    return row


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number


def _once(pairs: list[tuple[str, object]]) -> dict:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name stands twice")
    return content


def check_picture(content: bytes, name: str, limits: Limits) -> None:
    """Decodes a picture to see that it is one; raises ValueError with the sentence that `animate` has."""
    file = BytesIO(content)
    file.name = name
    width, height = images.size_of(name, file)
    if width * height > limits.pixels:
        raise ValueError(
            f"{name} has {width}×{height} = {width * height} pixels; at most {limits.pixels} are accepted. "
            "Resize it first."
        )
    scans = content.count(_SCAN) if content.startswith(b"\xff\xd8") else 1
    if width * height * scans > MOST_SCANNED:
        raise ValueError(f"{name} has {scans} scans of {width}×{height}; save it as a plain JPEG or as PNG.")
    images.read_image(file)
