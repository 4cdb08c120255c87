"""Evaluations of a run's branches divided among ranks, each of which then guides and steps for itself.

With more ranks than branches each branch has a group of them, whose ranks have a part of its frames each.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ...clips.run import Branch, MakeEvaluate, Run
from ...samplers.guidance import Evaluate
from ...svd_model.layerwise import NotEnoughMemoryError, is_out_of_memory
from ...svd_model.networks.sharing import FrameShare, counts_of
from ...svd_model.networks.stages import UNetParams
from .ranks import Group, Ranks

LEAST_FRAMES = 2
"""Frames of a branch that a rank has at the least."""


class OutOfMemoryOnRankError(RuntimeError):
    """Memory has run out on some rank; all ranks raise it at the same evaluation."""

    def __init__(self):
        super().__init__("out of memory on one of the ranks")


def group_size(run: Run, params: UNetParams, ranks: int) -> int:
    """How many ranks have a branch of a run together; 1 where each branch is one rank's, or several are."""
    size, rest = divmod(ranks, len(run.branches))
    if size < 2 or rest or run.control is not None or _refers(run):
        return 1
    return 1 if why_whole((run.frames_at_once, *run.start.shape[2:]), params, size) else size


def why_whole(size: tuple[int, int, int], params: UNetParams, ranks: int) -> str | None:
    """Why frames of latents of a size, (T, h, w), don't divide among ranks, in words; None where they do."""
    frames, height, width = size
    halved = len(params.channel_mult) - 1
    height, width = height >> halved, width >> halved
    if params.frame_positions:
        return "the UNet has learned positions of frames, as ExVideo's has"
    if frames < LEAST_FRAMES * ranks:
        return f"the UNet takes {frames} frames at once, under {LEAST_FRAMES} for each of {ranks} GPUs"
    if height * width < ranks:
        return f"the smallest features are {width}×{height}, under a position for each of {ranks} GPUs"
    return None


def share_of(frames: int, group: Group | None) -> FrameShare | None:
    """The frames of a branch that a rank evaluates; None for all of them."""
    if group is None:
        return None
    return FrameShare(counts_of(frames, group.size), group.rank, group.gather, group.pass_on, group.swap)


EvaluateShare = Callable[[Sequence[str], Tensor, Tensor, Sequence[str]], Sequence[Tensor]]
"""(names of branches, x, σ, names of all that some rank evaluates at this x) -> estimates of the first."""

MakeEvaluateShare = Callable[[Mapping[str, Branch]], EvaluateShare]


def divided(make_evaluate: MakeEvaluateShare, ranks: Ranks, together: int = 1) -> MakeEvaluate:
    """Evaluations whose branches are dealt out to the ranks and gathered; branch i goes to rank i mod size.

    together: how many ranks in a row have a branch; their evaluations are one, and give all of them its
    whole estimates. There a rank whose memory runs out can't wait for others, which wait for it, and ends.

    One branch alone is evaluated by every rank, and nothing travels.
    """

    groups = ranks.size // together

    def make(branches) -> Evaluate:
        evaluate = make_evaluate(branches)

        def on_ranks(names: Sequence[str], x: Tensor, sigma: Tensor) -> Sequence[Tensor]:
            if len(names) == 1:
                return evaluate(names, x, sigma, names)
            own, most = tuple(names)[ranks.rank // together :: groups], share(len(names), groups)

            def estimated() -> Sequence[Tensor]:
                return evaluate(own, x, sigma, names)

            estimates = estimated() if together > 1 else _together(estimated, ranks)
            empty = [torch.zeros_like(x)] * (most - len(estimates))
            found = ranks.gather(torch.stack((*estimates, *empty)))  # (ranks, most, T, 4, h, w)
            found = found[::together]  # of a group's ranks, which have the same
            return [found[number % groups, number // groups] for number in range(len(names))]

        return on_ranks

    return make


def _refers(run: Run) -> bool:
    return any(branch.conditions.references is not None for branch in run.branches.values())


def share(count: int, ranks: int) -> int:
    """How many of some branches, or frames, a rank has at the most."""
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
