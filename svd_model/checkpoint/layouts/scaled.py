"""Weights in float8 with a scale beside each, as ComfyUI saves them: the view has their products."""

import json
import math

import torch
from torch import Tensor

from ..sources import CheckpointError, TensorFile
from .origins import Origin, renamed

_SCALES = (".scale_weight", ".weight_scale")
_MARKS = (".scale_input", ".input_scale", ".comfy_quant", "scaled_fp8")
"""Names of what belongs to a computation in float8, and not to the weights."""

_FORMATS = ("float8_e4m3fn", "float8_e5m2")
_LONGEST_NOTE = 4096
_WIDE = torch.float16
"""Type of the products: weights of three bits and a scale, far from its largest and smallest numbers."""


def to_plain_weights(file: TensorFile) -> TensorFile:
    """Gives a view of the file with plain weights; raises CheckpointError for another number format."""
    origins = {}
    for key in file.shapes:
        if key.endswith(".comfy_quant"):
            _check_format(file, key)
        if key.endswith(_SCALES):
            weight = key.rpartition(".")[0] + ".weight"
            _check_scale(file, key, weight)
            origins[weight] = Origin((weight, key), _product)
    marks = {key for key in file.shapes if key.endswith((*_SCALES, *_MARKS))}
    return renamed(file, origins).without(marks)


def _product(weight: Tensor, scale: Tensor) -> Tensor:
    return (weight.float() * scale.float().reshape(())).to(_WIDE)


def _check_scale(file: TensorFile, key: str, weight: str) -> None:
    dtype = file.dtypes.get(weight)
    if math.prod(file.shapes[key]) != 1 or dtype not in (torch.float8_e4m3fn, torch.float8_e5m2):
        raise CheckpointError(
            f"{file.path} holds weights in {_name(dtype)} with scales of shape {list(file.shapes[key])} (its "
            f"key {key}); Stillmotion reads float8 weights with one scale each. Choose a plain float16 file."
        )


def _check_format(file: TensorFile, key: str) -> None:
    """Raises CheckpointError for a format of numbers other than float8."""
    described = None
    if math.prod(file.shapes[key]) <= _LONGEST_NOTE and file.dtypes[key] in (torch.uint8, "U8"):
        try:
            described = json.loads(bytes(file.read(key).tolist())).get("format")
        except (ValueError, AttributeError, RecursionError):
            described = None
    if described not in _FORMATS:
        raise CheckpointError(
            f"{file.path} holds weights in the format {described or 'that its key ' + key + ' names'}; "
            f"Stillmotion reads {' and '.join(_FORMATS)}. Choose a plain float16 file."
        )


def _name(dtype: torch.dtype | str | None) -> str:
    return "an unknown format" if dtype is None else str(dtype).removeprefix("torch.")
