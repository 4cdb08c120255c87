"""References of a clip: sums of tokens, places of their own, and the steps that embed them."""

import pytest
import torch

from stillmotion.clips.plan import Plan
from stillmotion.clips.recipes import Decode, Embed, Encode, Latent, Sample, drive
from stillmotion.clips.recipes.clip import clip
from stillmotion.clips.references import Look, check_weight
from stillmotion.clips.settings import Settings
from stillmotion.samplers.guidance import CONDITIONAL, UNCONDITIONAL
from stillmotion.svd_model.checkpoint.variants import SVD_XT

OWN, FIRST, SECOND = (torch.full((1, 1, 4), value) for value in (1.0, 3.0, -2.0))
MASK = torch.zeros(1, 1, 64, 64)
MASK[..., :12] = 1


def test_the_token_is_the_weighted_sum_in_any_order():
    context, places = Look((FIRST, SECOND), (0.5, 0.25)).over(OWN)
    assert places is None and torch.allclose(context, 0.25 * OWN + 0.5 * FIRST + 0.25 * SECOND)
    assert torch.allclose(Look((SECOND, FIRST), (0.25, 0.5)).over(OWN)[0], context)
    assert torch.equal(Look((OWN,), (1.0,)).over(OWN)[0], OWN)


def test_a_mask_leaves_the_token_and_shares_what_the_references_change():
    context, places = Look((FIRST,), (0.5,), MASK).over(OWN)
    assert context is OWN and torch.equal(places.tokens, 0.5 * (FIRST - OWN))
    assert places.shares[0, 0, 0].tolist() == [1, 0.5, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("weight", [2.1, float("nan"), "much", True])
def test_other_weights_are_refused(weight):
    with pytest.raises(ValueError, match=r"the weight of reference 1 is .*from -2 to 2"):
        check_weight("reference 1", weight)


@pytest.mark.parametrize(
    ("chosen", "keyframes"), [({}, ()), ({"loop": "pinned"}, ()), ({"num_frames": None}, (6,))], ids=str
)
def test_every_run_has_the_references_and_the_unconditional_one_nothing(chosen, keyframes):
    settings = Settings(**{"num_frames": 7, "width": 64, "height": 64, "steps": 2, **chosen})
    plan, picture = Plan.of(settings, SVD_XT, keyframes), torch.zeros(1, 3, 64, 64)
    runs, embedded = [], []

    def door(step):
        if isinstance(step, Embed):
            embedded.append(step.picture)
            return FIRST
        if isinstance(step, Encode):
            return OWN, torch.ones(1, 4, 8, 8)
        if isinstance(step, Latent):
            return torch.ones(1, 4, 8, 8)
        if isinstance(step, Sample):
            runs.append(step.run)
            return torch.ones(len(step.run.start), 4, 8, 8)
        return "frames" if isinstance(step, Decode) else None

    pictures = dict.fromkeys((0, *keyframes), picture)
    assert drive([clip(plan, pictures, references=[(picture + 1, 0.5)])], door) == ["frames"]
    assert len(embedded) == 1 and torch.equal(embedded[0], picture + 1) and runs
    for run in runs:
        assert torch.equal(run.branches[CONDITIONAL].conditions.context, torch.full((1, 1, 4), 2.0))
        assert not run.branches[UNCONDITIONAL].conditions.context.any()
    drive([clip(plan, pictures, references=[(picture + 1, 0.5)], mask=MASK)], door)
    placed = runs[-1].branches[CONDITIONAL].conditions
    assert torch.equal(placed.context, OWN) and torch.equal(placed.references.tokens, FIRST - 2 * OWN)
    plain = runs[-1].branches[UNCONDITIONAL].conditions
    assert not plain.references.tokens.any()
    assert torch.equal(plain.references.shares, placed.references.shares)
