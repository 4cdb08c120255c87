"""Deep features that serve several evaluations of the UNet (Ma et al., "DeepCache", 2024); not exact."""

from torch import Tensor

from .unet import FeaturePatch, RunConstants, StepShifts, VideoUNet


class DeepFeatures:
    """Those of the last evaluation that computed all of the UNet, and the count of evaluations."""

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
        patch: FeaturePatch | None = None,
    ) -> Tensor:
        """As unet.predict at every so many evaluations; in between only the first and last block are new."""
        given = (shifts, constants, patch)
        first = unet.first(x)
        if self._evaluations % interval == 0:
            self._features = unet.deep(first, *given)
        self._evaluations += 1
        deep = self._features if patch is None else self._features.clone()  # a patch may write in place
        return unet.last(deep, first, *given)
