"""Files of the small decoders for previews, TAESD and TAESDV."""

import re
from pathlib import Path

from ..networks.taesd import SmallDecoder, SmallDecoderParams
from .layouts.origins import Origin, renamed
from .parts import Part
from .sizes import Shapes, below
from .sources import CheckpointError, TensorFile, other_than_floats

LARGEST_FILE = 2**28
"""Bytes of the largest file that is opened; the published ones have 5 to 10 million."""

_WIDEST = 512
_LATENT_CHANNELS = SmallDecoderParams().latent_channels
_FIRST, _SECOND, _LAST = "1.weight", "3.conv.0.weight", "18.conv.0.weight"
# Diffusers' places begin behind the clamp, which has none there.
_DIFFUSERS = re.compile(r"(.*?)decoder\.layers\.(\d{1,2})\.(.+)")
_REMEDY = "Files that fit: taesdv.pth, taesd_decoder.pth or .safetensors (github.com/madebyollin)."


def open_small_decoder(path: str | Path) -> Part:
    """Opens a file as a small decoder, whole; raises CheckpointError where it is none."""
    path = Path(path)
    size = path.stat().st_size if path.is_file() else 0
    if size > LARGEST_FILE:
        raise CheckpointError(
            f"{path} has {size:,} bytes; a small decoder for previews has at most {LARGEST_FILE:,}. {_REMEDY}"
        )
    return small_decoder_of(TensorFile.open(path))


def small_decoder_of(file: TensorFile) -> Part:
    """The small decoder in a file; raises CheckpointError where there is none, or not a whole one."""
    file = _with_released_names(file)
    prefix = find_prefix(file.shapes)
    if prefix is None:
        raise CheckpointError(f"{file.path} holds no small decoder, TAESD or TAESDV. {_REMEDY}")
    params = _params(file, prefix)
    name = "TAESDV decoder" if params.memory else "TAESD decoder"
    for key in below(file.shapes, prefix):
        if words := other_than_floats(file.dtypes[prefix + key]):
            raise CheckpointError(f"{file.path}: {prefix}{key} holds {words}, no floats. {_REMEDY}")
    part = Part.of(name, file, prefix, SmallDecoder, params)
    if not part.whole:
        raise CheckpointError(
            f"{file.path}: the {name} is not whole: of its {len(part.expected)} tensors "
            f"{len(part.missing)} are missing and {len(part.mismatched)} have another shape "
            f"({'; '.join((*part.missing, *part.mismatched)[:3])}). {_REMEDY}"
        )
    return part


def find_prefix(shapes: Shapes) -> str | None:
    """What stands before the keys of a small decoder under its released names; None without one."""
    return next(
        (
            prefix
            for prefix in (key[: -len(_SECOND)] for key in shapes if _ends_in(key, _SECOND))
            if prefix + _FIRST in shapes or prefix + _LAST in shapes
        ),
        None,
    )


def is_small_decoder(shapes: Shapes) -> bool:
    """Whether a file holds a small decoder, under its released names or diffusers'."""
    return find_prefix(shapes) is not None or any(
        match[2] == "2" and match[3] == "conv.0.weight" for match in _in_diffusers_layout(shapes)
    )


def _ends_in(key: str, name: str) -> bool:
    return key == name or key.endswith("." + name)


def _in_diffusers_layout(shapes: Shapes) -> list[re.Match]:
    return [match for key in shapes if (match := _DIFFUSERS.fullmatch(key))]


def _with_released_names(file: TensorFile) -> TensorFile:
    matches = _in_diffusers_layout(file.shapes)
    names = {f"{match[1]}decoder.{int(match[2]) + 1}.{match[3]}": match[0] for match in matches}
    return renamed(file, {name: Origin((key,)) for name, key in names.items()})


def _params(file: TensorFile, prefix: str) -> SmallDecoderParams:
    """Sizes of the decoder, read off two shapes; raises CheckpointError beyond what previews can use."""
    second, first = file.shapes[prefix + _SECOND], file.shapes.get(prefix + _FIRST)
    latents = first[1] if first is not None and len(first) == 4 else _LATENT_CHANNELS
    if latents != _LATENT_CHANNELS:
        raise CheckpointError(
            f"{file.path} decodes latents of {latents} channels; SVD's have {_LATENT_CHANNELS}. {_REMEDY}"
        )
    if len(second) != 4 or not 0 < second[0] <= _WIDEST:
        raise CheckpointError(
            f"{file.path}: {prefix}{_SECOND} is {list(second)}; four numbers are expected, the first from 1 "
            f"to {_WIDEST}. {_REMEDY}"
        )
    return SmallDecoderParams(second[0], latents, memory=second[1] == 2 * second[0])
