"""Solvers between two pictures: what they cost. Their numbers are compared in test_golden_time."""

import re
from pathlib import Path

import pytest
import torch

from stillmotion.samplers.bidirectional import BIDIRECTIONAL, End
from stillmotion.samplers.schedules import SCHEDULES

PAGE = Path(__file__).parents[2] / "web" / "docs" / "StillmotionBetweenSampler.md"


@pytest.mark.parametrize("method", BIDIRECTIONAL)
def test_the_help_page_says_how_often_a_way_runs_the_model_in_25_steps(method: str):
    runs = []

    def evaluate(branches, x, sigma):
        runs.extend(branches)
        return [x for _ in branches]

    x = torch.zeros(5, 4, 2, 2)
    ends = (End(evaluate, x[:1], torch.ones(5)) for _ in range(2))
    BIDIRECTIONAL[method](*ends, x, SCHEDULES["karras"].make(25), noise=torch.zeros_like)
    (told,) = re.findall(rf"^\| `{method}` \| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert int(told) == len(runs)
