"""Rows of a batch: a picture and its settings, checked one by one."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...clips.fields import shortened
from ...clips.mistakes import did_you_mean
from ...clips.settings import FIELDS
from ...clips.values import plain
from .digests import is_digest
from .places import holds_secret, is_address

MOST_BYTES = 64_000
"""Bytes of a row in its file."""

OWN = ("image", "id", "sha256")
"""Names in a row that are no settings."""

_LARGEST = 2**64  # of all settings the seeds go furthest, and no float holds some larger ones


@dataclass(slots=True)  # not frozen, which took four times as long: a million are made to go on with a run
class Row:
    """One clip to make.

    `image` is the picture as its source names it, `place` where it lies: a path or an address. `fault` says
    why there is nothing to make, `line` where the row stands.
    """

    id: str
    image: str = ""
    place: str = ""
    sha256: str | None = None
    settings: dict = field(default_factory=dict)
    fault: str = ""
    line: str = ""

    @property
    def text(self) -> str:
        """The row as canonical JSON, without the place of its picture."""
        return canonical([self.id, self.image, self.sha256, self.settings, self.fault])

    def shard_of(self, shards: int) -> int:
        """The shard to which the row belongs, alike on all machines."""
        return int.from_bytes(hashlib.sha256(self.text.encode()).digest()[:8], "big") % shards


def canonical(value) -> str:
    """JSON with sorted keys and no spaces; a whole float is written as an int, infinity by its name."""
    return _ENCODER.encode(_without_spellings(value))


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_PLAIN = {str, int, bool, type(None)}


def _without_spellings(value):
    if type(value) in _PLAIN:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else str(value) if value in (_INF, -_INF) else value
    if isinstance(value, Mapping):
        return {name: _without_spellings(element) for name, element in value.items()}
    return [_without_spellings(element) for element in value] if isinstance(value, list | tuple) else value


_INF = float("inf")


def row_of(content: object, name: str) -> Row:
    """The row of a dict; name: of its line, which becomes the id where the row has none.

    Its picture has no place yet. What can't be a row gets a fault.
    """
    if not isinstance(content, dict):
        return Row(name, fault=f"{name} is {shortened(content)}; give an object with an image.")
    content = {key: value for key, value in content.items() if value is not None}
    image, given_id, sha256 = (content.pop(key, None) for key in OWN)
    identity = str(given_id) if isinstance(given_id, str | int) and str(given_id) else None
    label = identity or (image if isinstance(image, str) and image else name)
    faults = [f"{name}: {fault}" for fault in _faults(image, given_id, sha256, content)]
    if faults:
        return Row(_without_address(label, name), fault=" ".join(faults))
    settings = {key: plain(value) for key, value in content.items()}
    return Row(label, image, "", sha256 and sha256.lower(), settings, line=name)


def _without_address(label: str, name: str) -> str:
    """A label that holds no address, with which a secret may come; name: in its place."""
    return name if is_address(label) else label


def _faults(image, identity, sha256, settings: Mapping):
    if not isinstance(image, str) or not image or "\0" in image:
        yield f"image is {shortened(image)}; give the path or the address of a picture."
    if identity is not None and not isinstance(identity, str | int):
        yield f"id is {shortened(identity)}; give a text or a whole number."
    if isinstance(identity, str) and is_address(identity) and holds_secret(identity):
        yield "id holds a user, a password or a query, which would land in records; give another."
    if sha256 is not None and not (isinstance(sha256, str) and is_digest(sha256.lower())):
        yield f"sha256 is {shortened(sha256)}; give 64 digits of base 16, or leave it out."
    yield from unknown_names(settings)
    for key, value in settings.items():
        if not _is_plain(value):
            yield f"{shortened(key)} is {shortened(value)}; give text, a number up to 2⁶⁴, or a list."


def _is_plain(value: object, depth: int = 3) -> bool:
    """Whether a value is a scalar or a list of them; poses are lists three deep."""
    if isinstance(value, list | tuple):
        return depth > 0 and all(_is_plain(element, depth - 1) for element in value)
    return isinstance(value, str | float) or (isinstance(value, int) and abs(value) <= _LARGEST)


def unknown_names(names):
    """A sentence for each name that is no setting."""
    for name in names:
        if name == "checkpoint":
            yield "checkpoint can't stand in a row: a batch has one; give it with --checkpoint."
        elif name not in FIELDS:
            meant = did_you_mean(name, (*OWN, *FIELDS)) or "; leave it out."
            yield f"{shortened(name)} is no setting, nor {', '.join(OWN)}{meant}"
