"""Deep features that serve several evaluations of the UNet (Ma et al., "DeepCache", 2024); not exact."""

from torch import Tensor

from .hooks import NO_HOOKS, Hooks
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
    ) -> Tensor:
        """Run the whole UNet every `interval` evaluations; between them its first and last layers."""
        conditions = (shifts, constants, hooks)
        first = unet.first(x)
        if self._evaluations % interval == 0:
            self._features = unet.deep(first, *conditions)
        self._evaluations += 1
        deep = self._features if hooks is NO_HOOKS else self._features.clone()  # hooks may write over it
        return unet.last(deep, first, *conditions)
