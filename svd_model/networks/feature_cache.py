"""Deep features that serve several evaluations of the UNet (Ma et al., "DeepCache", 2024); not exact."""

from torch import Tensor

from .early_features import EarlyFeatures
from .hooks import NO_HOOKS, Hooks
from .pieces import WHOLE, Pieces
from .unet import RunConstants, StepShifts, VideoUNet


class DeepFeatures:
    """Deep features of the last full evaluation, and the number of evaluations since the start."""

    def __init__(self):
        self._features: Tensor | None = None
        self._evaluations = 0

    def predict(
        self,
        unet: VideoUNet,
        interval: int,
        x: Tensor,
        shifts: StepShifts,
        constants: RunConstants,
        hooks: Hooks = NO_HOOKS,
        pieces: Pieces = WHOLE,
        early: EarlyFeatures | None = None,
    ) -> Tensor:
        """Run the whole UNet every `interval` evaluations; between them its first and last layers.

        early: as of `VideoUNet.predict`.

        An evaluation that fails, as when memory runs out, does not count: it can be done again.
        """
        conditions = (shifts, constants, hooks)
        first = unet.first(x)
        if self._evaluations % interval == 0:
            self._features = None  # free while the next ones are computed
            self._features = unet.deep(first, *conditions, pieces=pieces, early=early)
        deep = self._features if hooks is NO_HOOKS else self._features.clone()  # hooks may write over it
        result = unet.last(deep, first, *conditions, pieces=pieces)
        self._evaluations += 1
        return result
