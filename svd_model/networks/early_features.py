"""Features of a UNet's first stages, shared by evaluations that differ in later ones alone."""

from collections.abc import Collection, Sequence

from torch import Tensor

from .hooks import Hooks, Place
from .pieces import Pieces
from .stages import UNetParams


class EarlyFeatures:
    """Features of one video before a stage, and the skips of later ones: of its first evaluation, for others.

    stage: the number of the first stage that is not shared, among all places. rows: the video's frames in
    the batch of the first evaluation.
    """

    def __init__(self, stage: int, rows: slice):
        self.stage, self._rows = stage, rows
        self._state: list[Tensor] | None = None

    @property
    def kept(self) -> bool:
        """Whether the first evaluation has come as far as the stage."""
        return self._state is not None

    def keep(self, state: Sequence[Tensor]) -> None:
        """Keep the video's rows of skips and features, (B·T, C, H, W) each, the features last.

        Skips that wait in host memory are no copies: a device may still be filling them.
        """
        rows, device = [x[self._rows] for x in state], state[-1].device
        self._state = [x.clone() if x.device == device else x for x in rows]

    def begin(self) -> list[Tensor]:
        """Skips and features with which an evaluation goes on; it may write over the features alone."""
        return [*self._state[:-1], self._state[-1].clone()]


def first_changed(hooks: Collection[Hooks], places: Sequence[Place]) -> int:
    """Number of the first stage in which one of the hooks changes something, or of all stages."""
    changed = (number for number, place in enumerate(places) if any(each.changes(place) for each in hooks))
    return next(changed, len(places))


def kept_before(params: UNetParams, stage: int, pieces: Pieces) -> list[tuple[int, int]]:
    """Width and level of each of the features that are kept on the device before a stage."""
    places = params.places()
    skips: list[tuple[int, int]] = []
    for place in places[1:stage]:
        if place.part == "input":
            skips.append((params.skips()[place.index], place.level))
        elif place.part == "output":
            skips.pop()
    last, place = places[stage - 1], places[stage]
    features = (params.skips()[last.index], last.level)
    if last.part != "input":
        features = (params.width(last.level), place.level)
    return [*skips, features] if pieces.skips_on_device else [features]
