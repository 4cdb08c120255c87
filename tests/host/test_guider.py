"""A guided MODEL in the host's own sampling function, over predictions that are numbers."""

import pytest

from support import in_host

SCRIPT = """
from types import SimpleNamespace

import comfy.model_patcher
import comfy.samplers
from pack.nodes.host import guider
from pack.samplers import guidance

FRAMES, VIDEOS = 3, 2
PREDICTIONS = {"positive": 2.0, "negative": 3.0}
evaluated, runs = [], []


def predict(model, conditionings, x, sigma, options):
    evaluated.append([given and given[0]["name"] for given in conditionings])
    return [torch.full_like(x, PREDICTIONS[given[0]["name"]] if given else 0.0) for given in conditionings]


def make_terms(num_frames):
    runs.append(num_frames)
    return [guidance.cfg(torch.tensor([0.0, 1.0, 4.0]), (1.0, 8.0))]


def conditions(name):
    return [{"name": name, "model_conds": {"num_video_frames": SimpleNamespace(cond=FRAMES)}}]


comfy.samplers.calc_cond_batch = predict
model = comfy.model_patcher.ModelPatcher(torch.nn.Linear(1, 1), torch.device("cpu"), torch.device("cpu"))
guided = guider.with_guidance(model, make_terms)


def sample(sigma, cfg=1.0, **options):
    x = torch.full((VIDEOS * FRAMES, 4, 2, 2), 0.5)
    pair = conditions("negative"), conditions("positive")
    options = {**guided.model_options, **options}
    result = comfy.samplers.sampling_function(model.model, x, sigma * x.new_ones(len(x)), *pair, cfg, options)
    assert torch.equal(result, result[:, :1, :1, :1].expand_as(result))
    return result[:, 0, 0, 0].tolist()


guided.pre_run()
found = {"inside": sample(5.0), "at the end": sample(8.0, cfg=7.0), "outside": sample(9.0)}
readers = [lambda args: args["denoised"]]
found["read by another node"] = sample(9.0, sampler_post_cfg_function=readers)
steps = list(runs)
guided.pre_run()
sample(5.0)
print(json.dumps([found, evaluated, steps, runs, "sampler_cfg_function" in model.model_options]))
"""
GUIDED = [3.0, 2.0, -1.0] * 2  # 3 + scale·(2 − 3), for each frame of both videos
BOTH, ONE = ["positive", "negative"], ["positive", None]


@pytest.fixture(scope="module")
def outcome():
    return in_host.result_of(SCRIPT)


def test_each_frame_of_each_video_has_its_scale_inside_of_the_interval_whatever_the_nodes_cfg(outcome):
    found = outcome[0]
    assert found["inside"] == found["at the end"] == GUIDED
    assert found["outside"] == [2.0] * 6


def test_the_unconditional_branch_is_evaluated_where_a_term_or_another_node_reads_it(outcome):
    found, evaluated = outcome[:2]
    assert evaluated == [BOTH, BOTH, ONE, BOTH, BOTH]
    assert found["read by another node"] == [2.0] * 6


def test_terms_are_made_once_for_every_run(outcome):
    _, _, first_run, both_runs, _ = outcome
    assert first_run == [3]
    assert both_runs == [3, 3]


def test_the_model_before_the_node_stays_unguided(outcome):
    assert outcome[-1] is False
