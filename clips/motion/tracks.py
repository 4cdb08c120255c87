"""The motion that a user draws, as JSON: what moves along which path, what stands still, how the camera goes.

Coordinates are fractions of the picture as it is fitted, x to the right, y down: 0 is one edge, 1 the other.
Widths are parts of the picture's width. Angles are in degrees, clockwise.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..fields import is_number, shortened
from .camera import EASES, LINEAR

VERSION = 1
MOST_BYTES, MOST_POINTS = 262_144, 4096
MOST_REGIONS, MOST_DRAGS, LONGEST_ID = 32, 64, 64
PAN, ZOOM, ROLL = (-1, 1), (0.25, 4), (-180, 180)
MOST_NAMED = 10
"""Keys that mean nothing, named in a warning; the others are counted."""
MOVE, FREEZE = "move", "freeze"
NEARNESS = -1
"""The number of a nearness map that comes beside a motion, and is not named by it."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Key:
    """A place on a path, how large and how far turned its region is there, and when."""

    x: float
    y: float
    scale: float = 1.0
    degrees: float = 0.0
    time: float | None = None  # 0 to 1; None: keys are evenly spaced


@dataclass(frozen=True)
class Stroke:
    """A brush stroke, added to a region or erased from it."""

    points: tuple[Point, ...]
    width: float
    erase: bool


@dataclass(frozen=True)
class Region:
    """A part of the picture that moves along a path, stays where it is, or is frozen."""

    id: str
    kind: str
    path: tuple[Key, ...] = ()
    polygon: tuple[Point, ...] = ()
    mask: str | int | None = None  # a file, or a picture's number
    strokes: tuple[Stroke, ...] = ()


@dataclass(frozen=True)
class Camera:
    """The way of the camera, by the last frame."""

    pan: Point = (0.0, 0.0)  # the way the picture goes
    zoom: float = 1.0
    roll: float = 0.0
    ease: str = LINEAR
    nearness: str | int | None = None  # as a region's mask; bright is near
    pivot: float = 0.0  # the nearness that stands still

    @property
    def moves(self) -> bool:
        """Whether it does anything."""
        return (self.pan, self.zoom, self.roll) != ((0.0, 0.0), 1.0, 0.0)


@dataclass(frozen=True)
class Motion:
    """All of a clip's motion; a drag is a region whose area is the disc about its first key."""

    regions: tuple[Region, ...] = ()
    camera: Camera = Camera()
    aspect: float | None = None  # width by height that it was drawn on


def parse(text: str) -> tuple[Motion, list[str]]:
    """The motion in JSON text, and the names of its keys that mean nothing here.

    Raises ValueError, one sentence with the entry, its value and what is accepted.
    """
    unknown: list[str] = []
    fields = _object(_loaded(text, "the motion"), "the motion", _MOTION, unknown)
    moving = [
        _region(entry, f"regions[{number}]", number, unknown)
        for number, entry in enumerate(fields["regions"])
    ]
    moving += [
        _drag(entry, f"drags[{number}]", number, unknown) for number, entry in enumerate(fields["drags"])
    ]
    camera = Camera(**_object(fields["camera"], "camera", _CAMERA, unknown))
    _check_camera(camera)
    _check_whole(moving)
    return Motion(tuple(moving), camera, fields["aspect"]), unknown


def parse_path(text: str) -> tuple[tuple[Key, ...], list[str]]:
    """The keys in JSON text, a list of at least two, and the names of what means nothing in them.

    Raises ValueError as `parse` does.
    """
    unknown: list[str] = []
    path = _path(_list(MOST_POINTS, _loaded(text, "the path"), "the path"), "the path", unknown)
    if not path:
        raise ValueError("the path is empty; give two keys or more.")
    return path, unknown


def _loaded(text: str, what: str) -> Any:
    """The content of JSON text; raises ValueError for what is none, or too long."""
    if len(text.encode()) > MOST_BYTES:
        raise ValueError(f"{what} has {len(text.encode()):,} bytes; at most {MOST_BYTES:,} are read.")
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{what} is {shortened(text)}, which is no JSON ({error}); mend it there, or draw it anew."
        ) from error


def doubts(motion: Motion, unknown: Sequence[str], width: int, height: int) -> Iterator[str]:
    """A sentence for each thing in a motion that the user may have meant otherwise.

    unknown: names of its keys that mean nothing. width, height: of the clip.
    """
    if unknown:
        listed = ", ".join(name[:80] for name in unknown[:MOST_NAMED])
        more = f", and {len(unknown) - MOST_NAMED:,} more" * (len(unknown) > MOST_NAMED)
        yield f"the motion has keys that mean nothing here, and are passed over: {listed}{more}."
    aspect = width / height
    if motion.aspect is not None and abs(motion.aspect / aspect - 1) > 0.01:
        yield (
            f"the motion was drawn on a picture of width by height {motion.aspect:.4g}, and the clip's is "
            f"{aspect:.4g}: its areas lie elsewhere, unless it is drawn anew."
        )


def with_nearness(motion: Motion) -> Motion:
    """The motion whose camera goes by the picture NEARNESS, in place of its own if any.

    Raises ValueError for a camera that stands still, zooms or rolls.
    """
    camera = replace(motion.camera, nearness=NEARNESS)
    if camera.pan == (0.0, 0.0):
        raise ValueError(
            "there is a nearness map, and the camera doesn't pan; give it a pan, or leave it out."
        )
    _check_camera(camera)
    return replace(motion, camera=camera)


def _check_camera(camera: Camera) -> None:
    """Raises ValueError for a zoom or a roll by a nearness map, which would make holes everywhere."""
    if camera.nearness is not None and (camera.zoom, camera.roll) != (1.0, 0.0):
        raise ValueError(
            f"camera: zoom is {camera.zoom:g} and roll {camera.roll:g}; with nearness they must be 1 and 0."
        )


def _check_whole(regions: list[Region]) -> None:
    """Raises ValueError for two regions of one name, and for too many points in all."""
    names = [region.id for region in regions]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"id {name!r} is there twice; give each region and drag another one.")
    points = sum(
        len(region.polygon) + len(region.path) + sum(len(stroke.points) for stroke in region.strokes)
        for region in regions
    )
    if points > MOST_POINTS:
        raise ValueError(f"the motion has {points:,} points and keys; at most {MOST_POINTS:,} are read.")


def _region(entry: Any, where: str, number: int, unknown: list[str]) -> Region:
    fields = _object(entry, _named(entry, where), _REGION, unknown)
    fields["id"] = fields["id"] or f"region {number + 1}"
    where = _named(fields, where)
    fields["path"] = _path(fields["path"], where, unknown)
    fields["strokes"] = tuple(
        Stroke(**_object(stroke, f"{where}: strokes[{index}]", _STROKE, unknown))
        for index, stroke in enumerate(fields["strokes"])
    )
    region = Region(**fields)
    if region.kind == FREEZE and region.path:
        raise ValueError(f"{where}: a frozen region has a path of {len(region.path)} keys; it takes none.")
    if not region.polygon and region.mask is None and not region.strokes:
        raise ValueError(f"{where} has no area; give a polygon, a mask or strokes.")
    return region


def _drag(entry: Any, where: str, number: int, unknown: list[str]) -> Region:
    fields = _object(entry, _named(entry, where), _DRAG, unknown)
    name = fields["id"] or f"drag {number + 1}"
    path = _path(fields["path"], f"{where} ({name})", unknown)
    if not path:
        raise ValueError(f"{where} ({name}): path is empty; give two keys or more.")
    disc = Stroke(((path[0].x, path[0].y),), fields["width"], erase=False)
    return Region(name, MOVE, path, strokes=(disc,))


def _path(entries: list, where: str, unknown: list[str]) -> tuple[Key, ...]:
    keys = tuple(
        Key(**_object(entry, f"{where}: path[{number}]", _KEY, unknown))
        for number, entry in enumerate(entries)
    )
    if len(keys) == 1:
        raise ValueError(f"{where}: path has one key; give none, or two or more.")
    times = [key.time for key in keys if key.time is not None]
    if times and len(times) < len(keys):
        raise ValueError(
            f"{where}: {len(times)} of {len(keys)} keys have a time; give one to all, or to none."
        )
    if any(second <= first for first, second in itertools.pairwise(times)):
        listed = ", ".join(f"{time:g}" for time in times)
        raise ValueError(f"{where}: the times are {listed}; each must be later than the one in front of it.")
    return keys


_REQUIRED = object()
Read = Callable[[Any, str], Any]
"""(value, its name in words) -> the value; raises ValueError for another."""


def _object(
    value: Any, where: str, fields: dict[str, tuple[Read, Any]], unknown: list[str]
) -> dict[str, Any]:
    """The fields of a JSON object, null as if left out; names of others are added to `unknown`."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {shortened(value)}; give an object in braces.")
    unknown += [f"{where}: {name}" for name in value if name not in fields]
    result = {}
    for name, (read, default) in fields.items():
        entry = value.get(name)
        if entry is None and default is _REQUIRED:
            raise ValueError(f"{where} has no {name}; give one.")
        result[name] = default if entry is None else read(entry, f"{where}: {name}")
    return result


def _named(entry: Any, where: str) -> str:
    """The place of an entry with its own name."""
    name = entry.get("id") if isinstance(entry, dict) else None
    return f"{where} ({shortened(name)})" if isinstance(name, str) and name else where


def _number(lowest: float, highest: float, value: Any, where: str) -> float:
    if not is_number(value) or not lowest <= value <= highest:  # no NaN is in any range
        raise ValueError(f"{where} is {shortened(value)}; give a number from {lowest:g} to {highest:g}.")
    return float(value)


def _one_of(accepted: tuple, value: Any, where: str) -> Any:
    if isinstance(value, bool | list | dict) or value not in accepted:
        raise ValueError(f"{where} is {shortened(value)}; {' or '.join(map(str, accepted))}.")
    return value


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{where} is {shortened(value)}; true or false.")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_ID:
        raise ValueError(f"{where} is {shortened(value)}; give 1 to {LONGEST_ID} characters.")
    return value


def _source(value: Any, where: str) -> str | int:
    """A file's name, or a picture's number from 0."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"{where} is {shortened(value)}; give a file's name, or a picture's number from 0.")


def _list(most: int, value: Any, where: str) -> list:
    if not isinstance(value, list) or len(value) > most:
        found = f"has {len(value):,} entries" if isinstance(value, list) else f"is {shortened(value)}"
        raise ValueError(f"{where} {found}; give a list of at most {most:,}.")
    return value


def _point(lowest: float, highest: float, value: Any, where: str) -> Point:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{where} is {shortened(value)}; give [x, y].")
    x, y = (_number(lowest, highest, number, where) for number in value)
    return x, y


def _points(fewest: int, value: Any, where: str) -> tuple[Point, ...]:
    entries = _list(MOST_POINTS, value, where)
    if len(entries) < fewest:
        raise ValueError(f"{where} has {len(entries)} points; give {fewest} or more.")
    return tuple(_point(-1, 2, entry, f"{where}[{number}]") for number, entry in enumerate(entries))


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON's")


_PLACE, _LIST = partial(_number, -1, 2), partial(_list, MOST_POINTS)
_WIDTH = partial(_number, 0.001, 1)
_KEY = {
    "x": (_PLACE, _REQUIRED),
    "y": (_PLACE, _REQUIRED),
    "scale": (partial(_number, 0.1, 10), 1.0),
    "degrees": (partial(_number, -1080, 1080), 0.0),
    "time": (partial(_number, 0, 1), None),
}
_STROKE = {"points": (partial(_points, 1), _REQUIRED), "width": (_WIDTH, 0.05), "erase": (_flag, False)}
_REGION = {
    "id": (_text, None),
    "kind": (partial(_one_of, (MOVE, FREEZE)), MOVE),
    "path": (_LIST, ()),
    "polygon": (partial(_points, 3), ()),
    "mask": (_source, None),
    "strokes": (_LIST, ()),
}
_DRAG = {"id": (_text, None), "width": (_WIDTH, 0.1), "path": (_LIST, _REQUIRED)}
_CAMERA = {
    "pan": (partial(_point, *PAN), (0.0, 0.0)),
    "zoom": (partial(_number, *ZOOM), 1.0),
    "roll": (partial(_number, *ROLL), 0.0),
    "ease": (partial(_one_of, tuple(EASES)), LINEAR),
    "nearness": (_source, None),
}
_MOTION = {
    "version": (partial(_one_of, (VERSION,)), VERSION),
    "aspect": (partial(_number, 0.1, 10), None),
    "regions": (partial(_list, MOST_REGIONS), ()),
    "drags": (partial(_list, MOST_DRAGS), ()),
    "camera": (lambda value, where: value, {}),
}
