"""MODEL whose attention is steered by hooks of our UNet, or which sees less of its picture."""

from collections.abc import Collection

from ...clips.low_pass import LowPass
from ...svd_model.networks.hooks import NO_HOOKS, Hooks, both
from ...svd_model.networks.steering import check_layers
from .model import VideoModel
from .shared import LOW_PASS, POSITIONS, STEERING


def steered(model, hooks: Hooks, positions: int | None):
    """A copy of a MODEL with hooks, and with frames spread over the positions of so many, if any."""
    patched = model.clone()
    options = patched.model_options["transformer_options"]
    if hooks is not NO_HOOKS:
        options[STEERING] = both(hooks, options.get(STEERING, NO_HOOKS))
    if positions is not None:
        options[POSITIONS] = positions
    return patched


def with_low_pass(model, low_pass: LowPass):
    """A copy of a MODEL that sees less of its picture at high noise levels."""
    patched = model.clone()
    patched.model_options["transformer_options"][LOW_PASS] = low_pass
    return patched


def check_steerable(model, name: str, layers: Collection[str] = (), positions: int | None = None) -> None:
    """Raises ValueError for a MODEL that a node, by its name, can't steer.

    layers: names of layers with attention that it must have. positions: a number of frames for `steered`.
    """
    if not isinstance(model.model, VideoModel):
        raise ValueError(
            f"this model is not Stillmotion's, and {name} steers no other; connect the MODEL of SVD Load "
            "Checkpoint."
        )
    params = model.model.params
    check_layers("layers", layers, params.attention_names)
    if positions is not None and params.frame_positions:
        raise ValueError(
            f"positions is {positions}, and this model has learned its positions, for "
            f"{params.frame_positions} frames; set it to 0."
        )
