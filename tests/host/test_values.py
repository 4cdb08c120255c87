"""Values that a node does not accept: refused in one sentence, set on the node or linked to it."""

import pytest

from support import graphs, host, in_host
from support.graphs import node

SCRIPT = """
import asyncio, math
from pack.nodes import StillmotionExtension

def wrong(option):
    kind = option.get_io_type()
    if kind == "COMBO":
        return ["banana", None, 3]
    if kind == "STRING":
        return [None, 3]
    if kind not in ("INT", "FLOAT"):
        return []
    values = [option.min - 1, option.max + 1, math.nan, math.inf, -math.inf, None, "3", True]
    if kind == "INT":
        values += [option.min + 0.5] + ([option.min + 1] if option.step not in (None, 1) else [])
    return values

def right(option):
    kind = option.get_io_type()
    if kind == "COMBO":
        return list(option.options)
    if kind == "STRING":
        return [option.default]
    return [option.min, option.default, option.max] if kind in ("INT", "FLOAT") else []

def outcome(call):
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["", ""]

found = []
for node in asyncio.run(StillmotionExtension().get_node_list()):
    options = node.define_schema().inputs
    fine = {option.id: getattr(option, "default", None) for option in options}
    combos = [option for option in options if option.get_io_type() == "COMBO"]
    fine |= {option.id: (option.options or [None])[0] for option in combos}
    for option in options:
        if any(not other.options for other in combos if other is not option):
            continue  # there is no file that another input would take
        for kind, values in (("wrong", wrong(option)), ("right", right(option))):
            for value in values:
                kinds = outcome(lambda: node.execute(**{**fine, option.id: value}))
                found.append([node.define_schema().node_id, option.id, kind, repr(value), *kinds])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def outcomes():
    return in_host.result_of(SCRIPT)


def test_every_input_of_every_node_refuses_what_it_does_not_accept_in_its_own_words(outcomes):
    """Where the work would begin: nothing is connected to the other inputs."""
    wrong = [outcome for outcome in outcomes if outcome[2] == "wrong"]
    assert len({(node, name) for node, name, *_ in wrong}) > 40
    for node_id, name, _, value, kind, said in wrong:
        assert (kind, said[: len(name) + 4]) == ("ValueError", f"{name} is "), (node_id, name, value, said)
        assert "accepted are" in said or "it must be" in said


def test_what_an_input_accepts_is_not_refused(outcomes):
    for node_id, name, kind, value, _, said in outcomes:
        if kind == "right":
            assert not said.startswith(f"{name} is {value}"), (node_id, name, value, said)


def refusals(server, graph: dict, name: str) -> list[dict]:
    """What the host says of a node before it runs anything."""
    answer = server.post(graph)
    return answer.get("node_errors", {}).get(name, {"errors": []})["errors"]


ANIMATE = {"checkpoint": "tiny_svd.safetensors", "image": ["image", 0], "motion": 127, "seed": 0}
ANIMATE |= {"width": 64, "height": 64, "frames": 2, "steps": 1}


def animate(**changes) -> dict:
    return {
        "image": node("LoadImage", image="rocket.jpg"),
        "prepare": node("StillmotionAnimate", **(ANIMATE | changes)),
        "save": node("SaveImage", images=["prepare", 0], filename_prefix="animate"),
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [("fit", "banana"), ("motion_bucket_id", -50), ("fps", 0.0), ("frames", 0)],
)
def test_one_wrong_value_of_image_to_video_is_one_error_on_that_input(server, name, value):
    errors = refusals(server, graphs.first_video(prepare={name: value}), "prepare")
    assert [error["extra_info"]["input_name"] for error in errors] == [name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("checkpoint", "gone.safetensors"),
        ("motion", -50),
        ("frames", -1),
        ("steps", 1001),
        ("decoder", "banana"),
    ],
)
def test_one_wrong_value_of_animate_is_one_error_on_that_input(server, name, value):
    errors = refusals(server, animate(**{name: value}), "prepare")
    assert [error["extra_info"]["input_name"] for error in errors] == [name]


@pytest.mark.parametrize(
    "make", [lambda size: graphs.first_video(prepare=size), lambda size: animate(**size)]
)
@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"width": 1000}, ("width is 1000; it must be a multiple of 64 from ", "The nearest is 1024.")),
        ({"height": 570}, ("height is 570; it must be a multiple of 64 from ", "The nearest is 576.")),
        ({"height": 5000}, ("height is 5000; it must be a multiple of 64 from ", "The nearest is 4096.")),
    ],
)
def test_a_side_that_does_not_fit_is_refused_with_the_nearest(server, make, size, said):
    """On both sides, and on nothing else: the host repeats it for each input that the node looks at."""
    errors = refusals(server, make(size), "prepare")
    assert [error["extra_info"]["input_name"] for error in errors] == ["width", "height"]
    for error in errors:
        assert all(part in error["details"] for part in said)


def test_a_linked_size_that_does_not_fit_is_refused_in_the_same_words(server):
    size = node("GetImageSize", image=["image", 0])  # 640×427
    linked = graphs.first_video(size=size, prepare={"width": ["size", 0], "height": ["size", 1]})
    assert "height is 427; it must be a multiple of 64 from 64 to 4096. The nearest is 448." in host.error_of(
        server.run(linked)
    )


@pytest.mark.parametrize(
    ("place", "name", "value", "said"),
    [
        ("sample", "denoise", 0.0, "denoise is 0.0; it must be a number from 0.01 to 1."),
        ("sample", "sigma_max", float("nan"), "sigma_max is nan; it must be a number from 0.01 to 100000."),
        ("prepare", "fps", 0.0, "fps is 0.0; it must be a number from 1 to 240."),
    ],
)
def test_a_linked_number_out_of_range_is_refused(server, place, name, value, said):
    more = {"number": node("PrimitiveFloat", value=value), place: {name: ["number", 0]}}
    assert said in host.error_of(server.run(graphs.first_video(**more)))


@pytest.mark.parametrize(("place", "name"), [("sample", "steps"), ("prepare", "frames")])
def test_a_linked_count_of_0_is_refused(server, place, name):
    more = {"number": node("PrimitiveInt", value=0), place: {name: ["number", 0]}}
    said = host.error_of(server.run(graphs.first_video(**more)))
    assert said.startswith(f"{name} is 0; it must be a whole number from 1 to ")


def test_sigmas_that_do_not_fall_are_refused(server):
    said = host.error_of(server.run(graphs.first_video(sample={"sigma_max": 1.0, "sigma_min": 1.0})))
    assert "sigma_min is 1.0 and sigma_max 1.0; they must be finite and 0 < sigma_min < sigma_max" in said
