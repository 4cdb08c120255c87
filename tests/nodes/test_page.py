"""What the page's scripts read of Python's tables: presets whose values the node accepts."""

import pytest

from stillmotion.clips.presets import NAMED
from support import graphs
from support.pages import SCHEMAS

(KSAMPLER,) = (schema for schema in SCHEMAS if schema.node_id == "StillmotionKSampler")
INPUTS = {port.id: port.options for port in KSAMPLER.inputs}
PRESETS = INPUTS["sampler"]["extra_dict"]["stillmotion_presets"]


@pytest.mark.parametrize("name", NAMED)
def test_a_preset_has_values_that_the_node_accepts(name):
    values = PRESETS[name]
    assert set(values) == {"sampler", "shape", "min_guidance", "max_guidance", "schedule", "steps"}
    for each in ("shape", "schedule"):
        assert values[each] in INPUTS[each]["options"]
    for each in ("min_guidance", "max_guidance", "steps"):
        assert INPUTS[each]["min"] <= values[each] <= INPUTS[each]["max"]


def test_a_new_node_has_the_values_of_the_first_preset():
    """So its list says "quality" and not "custom"."""
    assert PRESETS["quality"] == {name: INPUTS[name]["default"] for name in PRESETS["quality"]}


def test_every_list_of_scales_has_the_numbers_of_the_editor():
    lists = [port for schema in SCHEMAS for port in schema.inputs if port.id == "scales"]
    assert len(lists) == 4
    assert all("stillmotion_curve" in port.options["extra_dict"] for port in lists)


def test_the_page_has_the_addresses_that_the_templates_have():
    """Both lists name the released files of SVD."""
    (load,) = (schema for schema in SCHEMAS if schema.node_id == "StillmotionLoadCheckpoint")
    downloads = load.inputs[0].options["extra_dict"]["stillmotion_downloads"]
    nodes = graphs.read("3 Every knob")["nodes"]
    (models,) = (node["properties"]["models"] for node in nodes if node["type"] == load.node_id)
    assert downloads == {model["name"]: model["url"] for model in models}
