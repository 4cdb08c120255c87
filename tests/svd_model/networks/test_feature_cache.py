"""Which evaluations run the whole UNet, and that batches of branches change nothing."""

import weakref

import pytest
import torch
from torch import Tensor

from stillmotion.svd_model.networks.feature_cache import FeatureCache

ROWS = 3  # frames of a branch
LEAD, OTHER, THIRD = "conditional", "unconditional", "spatial"


class Network:
    """Stands in for the UNet: its deep features are of the x that they were computed from."""

    def __init__(self):
        self.deep_rows = 0

    def first(self, x: Tensor) -> Tensor:
        return x

    def deep(self, x: Tensor, *conditions, **options) -> Tensor:
        self.deep_rows += len(x)
        return 100 * x

    def last(self, deep: Tensor, first: Tensor, *conditions, **options) -> Tensor:
        return deep + first


def evaluated(network, cache, branches, number, interval=2, *, together=True, level=None, state=None):
    """What each branch is given in an evaluation with a number, in one batch or one by one.

    level: by default each evaluation has its own.
    """
    found = {}
    with cache.evaluation(branches, interval, -number if level is None else level, state) as features:
        for batch in [tuple(branches)] if together else [(branch,) for branch in branches]:
            x = torch.full((ROWS * len(batch), 1), float(number))
            result = features.predict(network, batch, x, None, None)
            found |= {branch: rows[0].item() for branch, rows in zip(batch, result.split(ROWS), strict=True)}
    return found


@pytest.mark.parametrize("interval, wholes", [(2, [1, 1, 3, 3, 5]), (3, [1, 1, 1, 4, 4])])
def test_every_nth_evaluation_is_of_the_whole_network(interval, wholes):
    network, cache = Network(), FeatureCache()
    for number, whole in enumerate(wholes, 1):
        assert evaluated(network, cache, [LEAD], number, interval) == {LEAD: 100 * whole + number}
    assert network.deep_rows == ROWS * len(set(wholes))


INTERVAL_OF_GUIDANCE = [[LEAD], [LEAD, OTHER], [LEAD, OTHER], [LEAD], [LEAD], [OTHER, LEAD]]
WHOLES = [1, 2, 2, 4, 4, 6]


@pytest.mark.parametrize("together", [[True], [False], [True, False], [False, True], [True, True, False]])
def test_features_of_an_evaluation_are_of_one_earlier_one_however_it_is_batched(together):
    """Where a branch joins or leaves, all begin anew."""
    network, cache = Network(), FeatureCache(most=4)
    for number, (branches, whole) in enumerate(zip(INTERVAL_OF_GUIDANCE, WHOLES, strict=True), 1):
        found = evaluated(network, cache, branches, number, together=together[number % len(together)])
        assert found == dict.fromkeys(branches, 100 * whole + number)


def test_evaluations_at_one_level_have_features_of_their_own():
    """As where another node has the unconditional branch of a blurred x, too."""
    network, cache = Network(), FeatureCache(most=3)
    for step, whole in enumerate([1, 1, 3, 3], 1):
        assert evaluated(network, cache, [LEAD, OTHER], step, level=step)[OTHER] == 100 * whole + step
        assert evaluated(network, cache, [OTHER], 10 * step, level=step)[OTHER] == 1000 * whole + 10 * step


def test_an_evaluation_that_fails_does_not_count():
    network, cache = Network(), FeatureCache()
    for level in (-1, -2):
        with pytest.raises(MemoryError), cache.evaluation([LEAD], 2, level):
            raise MemoryError
    assert evaluated(network, cache, [LEAD], 2)[LEAD] == 202
    with pytest.raises(MemoryError), cache.evaluation([LEAD], 2, -3) as features:
        features.predict(network, (LEAD,), torch.zeros(ROWS, 1), None, None)
        raise MemoryError
    assert evaluated(network, cache, [LEAD], 3)[LEAD] == 203


def test_smaller_batches_after_a_failure_replace_what_a_larger_one_left():
    network, cache = Network(), FeatureCache()
    with cache.evaluation([LEAD, OTHER], 2, -1) as features:
        features.predict(network, (LEAD, OTHER), torch.zeros(2 * ROWS, 1), None, None)
        for branch in (LEAD, OTHER):
            features.predict(network, (branch,), torch.ones(ROWS, 1), None, None)
    assert evaluated(network, cache, [LEAD, OTHER], 2) == {LEAD: 102, OTHER: 102}


@pytest.mark.parametrize("together", [True, False])
def test_where_a_branch_was_left_out_all_begin_anew(together):
    """As where another node answers for the network in one evaluation."""
    network, cache = Network(), FeatureCache()
    x = torch.zeros(ROWS, 1)
    with cache.evaluation([LEAD, OTHER], 3, -1) as features:
        features.predict(network, (OTHER,), x, None, None)
    found = evaluated(network, cache, [LEAD, OTHER], 2, interval=3, together=together)
    assert found == {LEAD: 202, OTHER: 202}


def test_inputs_of_another_size_have_features_of_their_own():
    network, cache = Network(), FeatureCache()
    evaluated(network, cache, [LEAD], 1, interval=3)
    with cache.evaluation([LEAD], 3, -2) as features:
        found = features.predict(network, (LEAD,), torch.full((ROWS, 2), 2.0), None, None)
    assert torch.equal(found, torch.full((ROWS, 2), 202.0))


def test_new_weights_begin_anew_also_within_an_evaluation():
    """The evaluation that they come in is the first one."""
    network, cache = Network(), FeatureCache()
    evaluated(network, cache, [LEAD], 1, interval=2)
    with cache.evaluation([LEAD], 2, -2) as features:
        cache.clear()
        found = features.predict(network, (LEAD,), torch.full((ROWS, 1), 2.0), None, None)
    assert found[0] == 202
    assert evaluated(network, cache, [LEAD], 3) == {LEAD: 203}
    assert evaluated(network, cache, [LEAD], 4) == {LEAD: 404}


def test_predictions_that_come_later_join_the_evaluation_that_named_them():
    """In it they are of the same step as the others, and it isn't counted again."""
    network, cache = Network(), FeatureCache(most=3)
    for step, whole in enumerate([1, 1, 3, 3], 1):
        x = torch.full((ROWS, 1), float(step))
        with cache.evaluation([LEAD], 2, -step, others=[THIRD]) as features:
            assert features.predict(network, (LEAD,), x, None, None)[0] == 100 * whole + step
        joined = cache.joined([THIRD])
        assert joined.predict(network, (THIRD,), x, None, None)[0] == 100 * whole + step
    assert cache.joined([OTHER]) is None
    evaluated(network, cache, [LEAD], 9)
    assert cache.joined([THIRD]) is None


def test_what_is_no_longer_kept_is_free_in_the_evaluation_that_replaces_it():
    network, cache = Network(), FeatureCache()
    evaluated(network, cache, [LEAD], 1)
    (old,) = map(weakref.ref, cache._sets)
    with cache.evaluation([LEAD, OTHER], 2, -2):
        assert old() is None


def test_a_branch_in_two_states_has_features_of_its_own_in_each():
    """As where another node evaluates it with its patches, too."""
    network, cache = Network(), FeatureCache(most=2)
    for number, whole in enumerate([1, 1, 5, 5], 1):
        for state, later in (("plain", 0), ("patched", 10)):
            found = evaluated(network, cache, [LEAD], 2 * number - 1 + later, level=number, state=state)
            assert found == {LEAD: 100 * (whole + later) + 2 * number - 1 + later}


def test_sets_that_were_used_last_are_kept():
    """As of windows of a long video, each of which is an evaluation of its own."""
    network, cache = Network(), FeatureCache(most=2)
    windows = [(LEAD, window) for window in range(3)]
    for number, window in enumerate([0, 1, 0, 1, 2, 1], 1):
        evaluated(network, cache, [windows[window]], number, interval=9, level=0)
    assert network.deep_rows == 3 * ROWS
    assert evaluated(network, cache, [windows[0]], 7, interval=9, level=0) == {windows[0]: 707}
