"""Evaluations of a run's branches divided among ranks, each of which then guides and steps for itself."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...clips.run import MakeEvaluate
from ...samplers.guidance import Evaluate
from ...svd_model.layerwise import NotEnoughMemoryError, is_out_of_memory
from .ranks import Ranks


class OutOfMemoryOnRankError(RuntimeError):
    """Memory has run out on some rank; all ranks raise it at the same evaluation."""

    def __init__(self):
        super().__init__("out of memory on one of the ranks")


def divided(make_evaluate: MakeEvaluate, ranks: Ranks, remembers: bool) -> MakeEvaluate:
    """Evaluations whose branches are dealt out to the ranks and gathered; branch i goes to rank i mod size.

    One branch alone is evaluated by every rank, and nothing travels, unless an evaluation `remembers` earlier
    ones, as with a feature cache: then a branch is one rank's from start to end.
    """

    def make(branches) -> Evaluate:
        evaluate = make_evaluate(branches)

        def on_ranks(names: Sequence[str], x: Tensor, sigma: Tensor) -> Sequence[Tensor]:
            if len(names) == 1 and not remembers:
                return evaluate(names, x, sigma)
            own, most = tuple(names)[ranks.rank :: ranks.size], share(len(names), ranks.size)
            estimates = _together(lambda: evaluate(own, x, sigma) if own else (), ranks)
            empty = [torch.zeros_like(x)] * (most - len(estimates))
            found = ranks.gather(torch.stack((*estimates, *empty)))  # (ranks, most, T, 4, h, w)
            return [found[number % ranks.size, number // ranks.size] for number in range(len(names))]

        return on_ranks

    return make


def share(count: int, ranks: int) -> int:
    """How many of some branches a rank has at the most."""
    return -(-count // ranks)


def may_retry(ranks: Ranks | None, error: BaseException, can: bool) -> bool:
    """Whether a run begins again after an error: on ranks after a common one, where all of them can."""
    if ranks is None:
        return can
    return isinstance(error, OutOfMemoryOnRankError) and ranks.agree(can)


def _together(work, ranks: Ranks):
    """What the work gives, where no rank runs out of memory at it; otherwise all raise the error."""
    result = None
    try:
        result = work()
    except (RuntimeError, MemoryError, NotEnoughMemoryError) as error:
        if not (isinstance(error, NotEnoughMemoryError) or is_out_of_memory(error)):
            raise
    if not ranks.agree(result is not None):  # only after the except clause the failed call's tensors are free
        raise OutOfMemoryOnRankError()
    return result
