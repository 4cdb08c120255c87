"""A UNet whose averaged weights alone are in a file, under names without points, as trainers keep them."""

from functools import cache

from ...networks.unet import UNetParams, VideoUNet
from ..sources import TensorFile
from .origins import Origin, renamed
from .released import UNET

_AVERAGED = "model_ema."


def to_released_names(file: TensorFile) -> TensorFile:
    """Gives a view of the file with its averaged weights as the UNet's, where there are no others."""
    averaged = any(
        key.startswith(_AVERAGED + "diffusion_model") and "time_stack" in key for key in file.shapes
    )
    if not averaged or any(key.startswith(UNET) for key in file.shapes):
        return file
    return renamed(file, {name: Origin((key,)) for key, name in _names().items() if key in file.shapes})


@cache
def _names() -> dict[str, str]:
    """Names of averaged weights to the released ones, in the released UNet's layout."""
    keys = VideoUNet(UNetParams(), device="meta").state_dict()
    return {_AVERAGED + ("diffusion_model." + key).replace(".", ""): UNET + key for key in keys}
