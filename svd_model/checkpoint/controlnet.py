"""Files of a temporal ControlNet, in diffusers' names: a single one, in pieces, or in a folder."""

from dataclasses import replace
from pathlib import Path

from ..networks.controlnet import ControlNet
from ..networks.unet import UNetParams
from . import notes, sizes
from .folders import open_tensors
from .kinds import Role, find_kind
from .layouts import scaled, with_plain_names
from .layouts.diffusers import Blocks, unet_name
from .layouts.origins import Origin, renamed
from .parts import Part
from .sources import AnotherFileWanted, CheckpointError, TensorFile, other_than_floats

_WANTED = "Stillmotion takes temporal ControlNets for SVD, such as temporal-controlnet-depth-svd-v1."


def open_controlnet(path: str | Path) -> Part:
    """The ControlNet in a file, in a folder or in its folder `controlnet`; reads the header alone.

    Raises CheckpointError for a file that holds another network, less than a whole one, or more.
    """
    inside = Path(path) / "controlnet"
    try:
        return controlnet_of(open_tensors(inside if inside.is_dir() else path))
    except AnotherFileWanted as error:
        raise CheckpointError(f"{error.found}. {_WANTED}") from error


def controlnet_of(file: TensorFile) -> Part:
    """The ControlNet in a file; raises CheckpointError as open_controlnet does."""
    file = with_plain_names(file)
    kind = find_kind(file.shapes)
    if kind.role is not Role.CONTROLNET:
        raise CheckpointError(f"{file.path} looks like {kind.words}, not a temporal ControlNet. {_WANTED}")
    file = scaled.to_plain_weights(file)
    for key, dtype in file.dtypes.items():
        if words := other_than_floats(dtype):
            raise CheckpointError(f"{file.path} holds {words} (its key {key}). {_WANTED}")
    blocks = Blocks.of_keys(file.shapes)
    names = {key: unet_name(key, blocks) or key for key in file.shapes}
    file = renamed(file, {name: Origin((key,)) for key, name in names.items()})
    head_channels = notes.size(notes.read(file), "head_channels", file.path)
    part = Part.of("ControlNet", file, "", ControlNet, sizes.unet_params(file.shapes, head_channels))
    if not part.whole:
        raise CheckpointError(part.why_incomplete())
    more = sorted(key for key, name in names.items() if name not in part.expected)
    if more:
        raise CheckpointError(
            f"{file.path} is another network: {len(more)} of its tensors no temporal ControlNet has "
            f"({', '.join(more[:3])}). {_WANTED}"
        )
    return part


def check_fits(control: Part, unet: UNetParams) -> None:
    """Raises CheckpointError where a ControlNet is not for UNets of these sizes.

    Layers of MotionCtrl and of ExVideo, which no ControlNet has, change no size of the features.
    """
    own = {name: getattr(unet, name) for name in ("out_channels", "camera_dim", "frame_positions")}
    params = replace(control.params, **own)
    if params != unet:
        differing = [
            f"{name} {getattr(params, name)} instead of {getattr(unet, name)}"
            for name in params.__dataclass_fields__
            if getattr(params, name) != getattr(unet, name)
        ]
        raise CheckpointError(
            f"{control.file.path} is for another UNet than this checkpoint's: {'; '.join(differing)}. The "
            "published ones go with svd and svd_xt, not with SV3D or the built-in model."
        )
