"""Early features of our UNet, which predictions by hooks take from the positive one of a step."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...svd_model.networks.early_features import EarlyFeatures, first_changed
from ...svd_model.networks.hooks import Hooks, Place

FOLLOWERS = "stillmotion_followers"
"""The key in transformer_options of what follows the positive prediction, a tuple of Followers."""

LEADERS = "stillmotion_leaders"
"""The key in transformer_options of a following prediction: its conditions' names -> the positive one's."""

_POSITIVE = 0  # number of the positive conditioning among the host's


@dataclass(frozen=True)
class Followers:
    """Predictions by hooks that follow the positive one, in the steps in which `follow` says so."""

    hooks: tuple[Hooks, ...]
    follow: Callable[[Tensor, int], bool]  # σ and the frames of one video
    names: Callable[[Tensor, list], list[Hashable]]  # σ and positive conditionings -> those that follow


@dataclass(frozen=True)
class Share:
    """What a call of the UNet keeps for later ones, or takes from an earlier one."""

    stage: int
    rows: slice  # of the positive prediction in the batch
    key: tuple  # equal for calls that share
    leads: bool


def share_of(x: Tensor, num_frames: int, options: dict, places: tuple[Place, ...]) -> Share | None:
    """What a call with an input x, (B·T, C, h, w), and transformer_options shares; None for nothing."""
    followers = options.get(FOLLOWERS, ())
    chunks, names, sigmas = (options.get(name) for name in ("cond_or_uncond", "uuids", "sigmas"))
    if not followers or not chunks or not names or sigmas is None or chunks.count(_POSITIVE) != 1:
        return None
    leaders: Mapping | None = options.get(LEADERS)
    if leaders is not None and len(chunks) > 1:
        return None
    if leaders is None and not any(each.follow(sigmas.max(), num_frames) for each in followers):
        return None
    stage = first_changed([hooks for each in followers for hooks in each.hooks], places)
    if not 1 < stage < len(places):
        return None
    number, rows = chunks.index(_POSITIVE), len(x) // len(chunks)
    name = names[number] if leaders is None else leaders.get(names[number])
    return Share(stage, slice(number * rows, (number + 1) * rows), (name, num_frames), leaders is None)


class EarlyCache:
    """Early features of the last positive prediction, until the step has what follows it."""

    def __init__(self):
        self.forget()

    def forget(self) -> None:
        """Free the features."""
        self._kept: tuple[tuple, Tensor, EarlyFeatures] | None = None

    def of(self, share: Share, x: Tensor) -> EarlyFeatures | None:
        """Features that a call with an input x keeps, or begins from; None where there are none for it."""
        rows = x[share.rows]
        if share.leads:
            self._kept = share.key, rows.clone(), EarlyFeatures(share.stage, share.rows)
            return self._kept[2]
        if self._kept is None:
            return None
        key, of_leader, early = self._kept
        alike = key == share.key and (rows.shape, rows.dtype, rows.device) == (
            of_leader.shape,
            of_leader.dtype,
            of_leader.device,
        )
        return early if alike and early.kept and torch.equal(rows, of_leader) else None
