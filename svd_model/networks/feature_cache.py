"""Deep features that serve several evaluations of the UNet (Ma et al., "DeepCache", 2024); not exact.

They belong to branches, and not to the batches in which these go through the UNet: how many go together, as
the free memory has it, changes a picture by rounding alone.
"""

from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from itertools import accumulate, chain

import torch
from torch import Tensor

from .early_features import EarlyFeatures
from .hooks import NO_HOOKS, Hooks
from .pieces import WHOLE, Pieces
from .unet import RunConstants, StepShifts, VideoUNet


class DeepFeatures:
    """Deep features of some branches, all of one evaluation of the whole UNet.

    state: what else they depend on. evaluations: how many they have served. level: the σ of the last one.
    """

    def __init__(self, branches: frozenset[Hashable], state: object):
        self.branches, self.state = branches, state
        self.evaluations, self.level = 0, None
        self._batches: dict[tuple[Hashable, ...], tuple[tuple, Tensor]] = {}

    def predict(
        self,
        unet: VideoUNet,
        batch: tuple[Hashable, ...],
        x: Tensor,
        shifts: StepShifts,
        constants: RunConstants,
        hooks: Hooks = NO_HOOKS,
        pieces: Pieces = WHOLE,
        early: EarlyFeatures | None = None,
    ) -> Tensor:
        """Run the UNet for a batch of branches; in all evaluations but the first its outer layers alone.

        early: as of `VideoUNet.predict`. Features of inputs of another size or dtype are computed anew.
        """
        conditions = (shifts, constants, hooks)
        kind = len(x) // len(batch), *x.shape[1:], x.dtype
        first = unet.first(x)
        deep = self._kept(batch, kind) if self.evaluations else None
        if deep is None:
            self._forget(batch)  # free while the next ones are computed
            deep = unet.deep(first, *conditions, pieces=pieces, early=early)
            self._batches[batch] = kind, deep
        deep = deep.to(x.device)  # a host may give a branch to another GPU
        if hooks is not NO_HOOKS:
            deep = deep.clone()  # they may write over it
        return unet.last(deep, first, *conditions, pieces=pieces)

    def lack(self, branches: Collection[Hashable]) -> bool:
        """Whether features of one of the branches were to be kept, and are not."""
        return self.evaluations > 0 and not set(branches).issubset(chain(*self._batches))

    def clear(self) -> None:
        """Forgets all features, as where weights change: the next evaluation is the first one."""
        self._batches.clear()
        self.evaluations = 0

    def _kept(self, batch: tuple[Hashable, ...], kind: tuple) -> Tensor | None:
        """Features of a batch, whatever batches they were computed in; None where some are missing."""
        if batch in self._batches and self._batches[batch][0] == kind:
            return self._batches[batch][1]
        rows = [self._rows(branch, kind) for branch in batch]
        if any(each is None for each in rows):
            return None
        return rows[0] if len(rows) == 1 else torch.cat([each.to(rows[0].device) for each in rows])

    def _rows(self, branch: Hashable, kind: tuple) -> Tensor | None:
        for batch, (kept, deep) in list(self._batches.items()):
            if branch in batch and kept == kind:
                return deep.chunk(len(batch))[batch.index(branch)]
        return None

    def _forget(self, batch: tuple[Hashable, ...]) -> None:
        for other in list(self._batches):  # another thread may add its own
            if not set(batch).isdisjoint(other):
                self._batches.pop(other, None)


class FeatureCache:
    """Deep features of a run's branches.

    All branches of an evaluation have features of one and the same earlier one, which was of exactly these
    branches: where one joins or leaves, as where guidance begins, the whole UNet runs for all of them.
    most: of how many branches features are kept, those used last, and always those of the last evaluation.
    """

    def __init__(self, most: int = 0):
        self._most, self._level = most, None
        self._sets: list[DeepFeatures] = []

    @contextmanager
    def evaluation(
        self,
        branches: Collection[Hashable],
        interval: int,
        level: float,
        state: object = None,
        others: Collection[Hashable] = (),
    ) -> Iterator[DeepFeatures]:
        """The features of an evaluation of branches, which `interval` evaluations in a row use.

        level: σ. Features that were not used at the level before are too old. state: what else they depend
        on. others: branches of the evaluation that come later, or on another machine. One that fails, as
        when memory runs out, does not count: it can be done again.
        """
        deep = self._next(frozenset(branches), interval, level, state, frozenset(others))
        yield deep
        deep.evaluations += 1

    def joined(self, branches: Collection[Hashable]) -> DeepFeatures | None:
        """The features of an evaluation at the current level, to whose `others` the branches belong."""
        found = (each for each in self._sets if each.level == self._level)
        return next((each for each in found if each.branches.issuperset(branches)), None)

    def clear(self) -> None:
        """Forgets all features, also of an evaluation that is under way."""
        for each in self._sets:
            each.clear()

    def _next(
        self,
        branches: frozenset[Hashable],
        interval: int,
        level: float,
        state: object,
        others: frozenset[Hashable],
    ) -> DeepFeatures:
        if level != self._level:
            self._sets = [each for each in self._sets if each.level == self._level]
            self._level = level
        like = branches | others, state
        deep = next((each for each in self._sets if (each.branches, each.state) == like), None)
        if deep is not None:
            self._sets.remove(deep)
        if deep is None or deep.evaluations >= interval or deep.lack(branches):
            deep = DeepFeatures(*like)
        deep.level = level
        self._sets.insert(0, deep)
        counts = accumulate(len(each.branches) for each in self._sets)
        kept = zip(self._sets, counts, strict=True)
        self._sets = [each for each, count in kept if each is deep or count <= self._most]
        return deep
