"""Motion in JSON: what is read, and what is refused, in a sentence."""

import json

import pytest

from stillmotion.clips.motion.tracks import (
    NEARNESS,
    Camera,
    Key,
    Motion,
    Stroke,
    parse,
    parse_path,
    with_nearness,
)

TRIANGLE = [[0.2, 0.6], [0.3, 0.6], [0.3, 0.8]]


def test_no_motion():
    assert parse("{}") == (Motion(), [])
    assert parse('{"regions": null, "camera": null}') == (Motion(), [])


def test_a_whole_motion():
    text = """{"version": 1, "aspect": 1.7778,
     "regions": [{"id": "dog", "kind": "move", "polygon": [[0.2, 0.6], [0.3, 0.6], [0.3, 0.8]], "mask": null,
                  "strokes": [{"points": [[0.2, 0.7], [0.3, 0.72]], "width": 0.05, "erase": false}],
                  "path": [{"x": 0.2, "y": 0.7}, {"x": 0.5, "y": 0.4, "scale": 1.2, "degrees": 15}]},
                 {"kind": "freeze", "mask": 0}],
     "drags": [{"id": "tail", "path": [{"x": 0.4, "y": 0.4}, {"x": 0.6, "y": 0.4}]}],
     "camera": {"pan": [0.1, 0], "zoom": 1.1, "ease": "smooth"}, "colour": "red"}"""
    motion, unknown = parse(text)
    dog, frozen, tail = motion.regions
    assert dog.path == (Key(0.2, 0.7), Key(0.5, 0.4, 1.2, 15.0)) and len(dog.polygon) == 3
    assert (frozen.id, frozen.kind, frozen.mask) == ("region 2", "freeze", 0)
    assert tail.strokes == (Stroke(((0.4, 0.4),), 0.1, False),)
    assert motion.camera == Camera((0.1, 0.0), 1.1, 0.0, "smooth") and motion.aspect == 1.7778
    assert unknown == ["the motion: colour"]


def region(**entries) -> dict:
    return {"regions": [{"id": "dog", "polygon": TRIANGLE, **entries}]}


@pytest.mark.parametrize(
    "content, said",
    [
        ([], "the motion is []"),
        ({"version": 2}, "version is 2; 1"),
        ({"aspect": 100}, "aspect is 100; give a number from 0.1 to 10"),
        (region(kind="still"), "regions[0] ('dog'): kind is 'still'; move or freeze"),
        (region(polygon=TRIANGLE[:2]), "polygon has 2 points; give 3 or more"),
        (region(polygon=[[0, 0], [1, 0], [1, 5]]), "polygon[2] is 5; give a number from -1 to 2"),
        (region(polygon=[[0, 0], [1, 0], [1]]), "polygon[2] is [1]; give [x, y]"),
        (region(path=[{"x": 0, "y": 0}]), "path has one key"),
        (region(path=[{"x": 0}, {"x": 1, "y": 1}]), "path[0] has no y"),
        (region(path=[{"x": 0, "y": 0}, {"x": 1, "y": 1, "scale": 0}]), "scale is 0; give a number from 0.1"),
        (region(path=[{"x": 0, "y": 0, "time": 0}, {"x": 1, "y": 1}]), "1 of 2 keys have a time"),
        (region(path=[{"x": 0, "y": 0, "time": 1}, {"x": 1, "y": 1, "time": 1}]), "times are 1, 1"),
        (region(kind="freeze", path=[{"x": 0, "y": 0}, {"x": 1, "y": 1}]), "path of 2 keys; it takes none"),
        (region(polygon=None), "has no area"),
        (region(strokes=[{"points": [], "width": 0.1}]), "points has 0 points"),
        (region(strokes=[{"points": [[0, 0]], "erase": 1}]), "erase is 1; true or false"),
        (region(mask=-1), "mask is -1"),
        (region(mask=True), "mask is True"),
        (region(id=""), "id is ''; give 1 to 64 characters"),
        ({"regions": 2 * region()["regions"]}, "id 'dog' is there twice"),
        ({"regions": [{"mask": number, "id": str(number)} for number in range(33)]}, "at most 32"),
        ({"drags": [{"path": []}]}, "path is empty"),
        ({"camera": {"zoom": 1.2, "nearness": 0}}, "with nearness they must be 1 and 0"),
        ({"camera": {"pan": [0.1]}}, "give [x, y]"),
        ({"camera": 3}, "camera is 3"),
        (region(polygon=[[0, 0]] * 4097), "polygon has 4,097 entries"),
        (region(polygon=[[0, 0]] * 2100, strokes=[{"points": [[0, 0]] * 2100}]), "4,200 points and keys"),
    ],
)
def test_what_can_not_be_is_refused(content, said):
    with pytest.raises(ValueError) as error:
        parse(json.dumps(content))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_whole_number_beyond_all_floats_is_refused_as_any_other():
    with pytest.raises(ValueError, match=r"camera: zoom is 1000.*… *; give a number from 0.25 to 4"):
        parse('{"camera": {"zoom": 1' + "0" * 400 + "}}")


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"aspect": NaN}', '{"aspect": Infinity}', "[" * 100_000])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError, match="the motion"):
        parse(text)


def test_long_text_is_refused_unread():
    with pytest.raises(ValueError, match="262,145 bytes"):
        parse(" " * 262_145)


def test_a_path_alone_is_a_regions():
    keys = [{"x": 0.1, "y": 0.2}, {"x": 0.4, "y": 0.5, "scale": 1.5, "degrees": 40, "colour": "red"}]
    motion, unknown = parse(json.dumps({"drags": [{"path": keys}]}))
    path, of_path = parse_path(json.dumps(keys))
    assert path == motion.regions[0].path
    assert len(of_path) == len(unknown) == 1 and of_path[0].endswith("colour")


@pytest.mark.parametrize("text", ["", "7", "{}", "[]", "[" * 100_000, '[{"x": 0, "y": 0}]', "[1, 2]"])
def test_what_is_no_path_is_refused(text):
    with pytest.raises(ValueError, match="the path"):
        parse_path(text)


def test_a_nearness_map_beside_a_motion_replaces_its_own_and_wants_a_pan_alone():
    motion, _ = parse('{"camera": {"pan": [0.1, 0], "nearness": "depth.png"}}')
    assert with_nearness(motion).camera.nearness == NEARNESS
    for camera in ({}, {"pan": [0.1, 0], "zoom": 2}, {"pan": [0.1, 0], "roll": 5}, {"zoom": 2}):
        motion, _ = parse(json.dumps({"camera": camera}))
        with pytest.raises(ValueError, match="nearness"):
            with_nearness(motion)
