"""LoRA: differences of low rank for the UNet's weights (Hu et al., "LoRA: Low-Rank Adaptation", 2021).

W' = W + strength · (alpha / rank) · up · down. spellings.py has the tensors' names, scaling.py the factor.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..checkpoint import CheckpointError, Part
from ..checkpoint.kinds import OTHER_ADAPTERS, find_kind
from ..checkpoint.layouts import with_plain_names
from ..checkpoint.sizes import Shapes
from ..checkpoint.sources import AnotherFileWanted, TensorFile, other_than_floats
from . import scaling
from .spellings import (
    ALPHA,
    DOWN,
    UP,
    UP_BIAS,
    WHOLE,
    WHOLE_BIAS,
    is_of_the_base,
    modules_by_name,
    spelled,
    without_wrappers,
)

_IN_FOLDERS = ("adapter_model", "pytorch_lora_weights")
_SUFFIXES = (".safetensors", ".bin")
_TEMPORAL = (".time_stack.", ".time_pos_embed.", ".time_mixer.")
_INTEGERS = ("I64", "I32", "I16", "I8", "U8")  # an alpha may be one
_MOST_NAMED = 5


@dataclass(frozen=True, eq=False)
class Delta:
    """A difference of one weight: scale · up · down, or scale · up where `down` is None."""

    shape: tuple[int, ...]  # of the weight
    up: Tensor
    down: Tensor | None = None
    scale: float = 1.0

    def difference(self) -> Tensor:
        """The difference in the weight's shape, float32. Kernels of a convolution are flattened for it."""
        product = self.up.float()
        if self.down is not None:
            product = product.flatten(1) @ self.down.float().flatten(1)
        return (self.scale * product).reshape(self.shape)


class Strengths(NamedTuple):
    """Factors of a LoRA's differences, for the layers within a frame and for the layers over time."""

    spatial: float = 1.0
    temporal: float = 1.0

    def of(self, key: str) -> float:
        """The factor for a weight of the UNet, by its released name."""
        return self.temporal if is_temporal(key) else self.spatial


def is_temporal(key: str) -> bool:
    """Whether a weight is of a layer over time: of its blocks, their mixing, or the frames' numbers."""
    return any(fragment in key for fragment in _TEMPORAL)


@dataclass(frozen=True, eq=False)
class LoRA:
    """A LoRA for a UNet: deltas by released key, how many modules have some, and names without a layer."""

    path: Path
    deltas: Mapping[str, Delta]
    found: int
    without_layer: tuple[str, ...]

    @classmethod
    def open(cls, path: str | Path, shapes: Shapes) -> "LoRA":
        """Opens a file, or a folder of peft or diffusers; `shapes` are of the UNet's tensors, released names.

        Tensors are views of the mapped file. Raises CheckpointError for a file that is no LoRA, or of which
        nothing fits the UNet.
        """
        try:
            file = TensorFile.open(_file_in(Path(path)))
        except AnotherFileWanted as error:
            raise CheckpointError(f"{error.found}; give a LoRA of an SVD UNet (.safetensors).") from error
        return cls.of(file, shapes)

    @classmethod
    def of(cls, file: TensorFile, shapes: Shapes) -> "LoRA":
        """Reads an opened file."""
        file = with_plain_names(file)
        _refuse_other_kinds(file)
        modules, others = _modules(file)
        names, options = modules_by_name(shapes), scaling.read(file)
        deltas: dict[str, Delta] = {}
        without_layer, found = list(others), 0
        for module, keys in modules.items():
            released = names.get(module)
            changes = [*_deltas(file, module, keys, options, released, shapes)] if released else []
            if not changes:
                without_layer.append(module)
            found += bool(changes)
            for part, delta in changes:
                key = f"{released}.{part}"
                if key in deltas:
                    raise CheckpointError(f"{file.path} has two differences for {key}; give another file.")
                deltas[key] = delta
        if not found:
            raise CheckpointError(
                f"{file.path}: none of its {len(modules)} modules ({_some(list(modules))}) is a layer of "
                "this UNet; it is a LoRA for another model."
            )
        return cls(file.path, deltas, found, tuple(without_layer))

    @property
    def report(self) -> str:
        """A sentence on how many of the file's modules found their layer, naming those that did not."""
        if not self.without_layer:
            return f"{self.path.name}: all {self.found} modules found their layer."
        every = self.found + len(self.without_layer)
        return (
            f"{self.path.name}: {self.found} of {every} modules found their layer; left out: "
            f"{_some(self.without_layer)}."
        )


class Applied(NamedTuple):
    """A LoRA and how strongly it is applied."""

    lora: LoRA
    strengths: Strengths


def folded(part: Part, loras: Sequence[Applied]) -> Part:
    """A UNet with LoRAs in its weights, which are computed in float32 and rounded to their own dtype.

    Weights of 8 bits, in which small differences would be lost, become float16. All other weights stay views
    of the file. Raises CheckpointError for a LoRA that was opened for another UNet.
    """
    if not part.whole:
        raise CheckpointError(part.why_incomplete())
    file, changes = part.file, defaultdict(list)
    for lora, strengths in loras:
        for key, delta in lora.deltas.items():
            if part.expected.get(key) != delta.shape:
                raise CheckpointError(
                    f"{lora.path} was opened for another UNet, whose {key} is {list(delta.shape)}; open it "
                    "for this one."
                )
            if strength := strengths.of(key):
                changes[part.prefix + key].append((delta, strength))
    dtypes = {key: _widened(file.dtypes[key]) for key in changes}
    grown = {key: dtype.itemsize - file.dtypes[key].itemsize for key, dtype in dtypes.items()}

    def read(key: str) -> Tensor:
        tensor = file.read(key)
        if key not in changes:
            return tensor
        total = tensor.to(torch.float32, copy=True)
        for delta, strength in changes[key]:
            total.add_(delta.difference(), alpha=strength)
        return total.to(dtypes[key])

    size = part.size + sum(bytes_each * math.prod(file.shapes[key]) for key, bytes_each in grown.items())
    return replace(part, file=replace(file, dtypes={**file.dtypes, **dtypes}, read=read), size=size)


def _widened(dtype: torch.dtype) -> torch.dtype:
    return torch.float16 if dtype.itemsize == 1 else dtype


def _file_in(path: Path) -> Path:
    """The path of a LoRA's file; a folder's is its adapter."""
    if not path.is_dir():
        return path
    names = [name + suffix for name in _IN_FOLDERS for suffix in _SUFFIXES]
    found = next((path / name for name in names if (path / name).is_file()), None)
    if found is None:
        raise CheckpointError(f"{path} is a folder without a LoRA; one of {', '.join(names)} is expected.")
    return found


def _refuse_other_kinds(file: TensorFile) -> None:
    kind = find_kind(file.shapes)
    if kind in OTHER_ADAPTERS:
        raise CheckpointError(
            f"{file.path} is {kind.words}, which can't be applied; plain LoRAs and full differences can."
        )


def _modules(file: TensorFile) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Keys of a file by module and part, and keys that are no LoRA's; weights of its base are left out."""
    modules: defaultdict[str, dict[str, str]] = defaultdict(dict)
    others, of_training = [], any(map(is_of_the_base, file.shapes))
    for key in file.shapes:
        parts = spelled(key)
        if parts is None:
            others.append(key)
            continue
        keys = modules[without_wrappers(parts.module)]
        if keys.setdefault(parts.part, key) != key:
            raise CheckpointError(
                f"{file.path} has {keys[parts.part]} and {key}, two LoRAs for one layer; give a file of one."
            )
    if not modules:
        raise CheckpointError(f"{file.path} looks like {find_kind(file.shapes).words}, not a LoRA.")
    return dict(modules), [] if of_training else others


def _deltas(
    file: TensorFile,
    module: str,
    keys: Mapping[str, str],
    options: scaling.Scaling,
    released: str,
    shapes: Shapes,
) -> Iterator[tuple[str, Delta]]:
    """Differences of a module's weight and bias, by these names."""
    scale = 1.0
    if (DOWN in keys) != (UP in keys):
        there, missing = (DOWN, UP) if DOWN in keys else (UP, DOWN)
        raise CheckpointError(f"{file.path} has {keys[there]} without its {missing} part: it is not whole.")
    if DOWN in keys:
        rank = (file.shapes[keys[DOWN]] or (0,))[0]
        scale = options.of(module, rank, _alpha(file, keys.get(ALPHA))) if rank else 0.0
        yield "weight", _delta(file, (keys[UP], keys[DOWN]), f"{released}.weight", shapes, scale)
    if UP_BIAS in keys:
        yield "bias", _delta(file, (keys[UP_BIAS],), f"{released}.bias", shapes, scale)
    for part, name in ((WHOLE, "weight"), (WHOLE_BIAS, "bias")):
        if part in keys:
            yield name, _delta(file, (keys[part],), f"{released}.{name}", shapes)


def _delta(file: TensorFile, keys: tuple[str, ...], target: str, shapes: Shapes, scale: float = 1.0) -> Delta:
    """A weight's difference of one tensor, or of up and down; checks them by the header alone."""
    for key in keys:
        if words := other_than_floats(file.dtypes[key]):
            raise CheckpointError(f"{file.path}: {key} is of {words}; it must be floating-point.")
    if target not in shapes:
        raise CheckpointError(f"{file.path} has {keys[0]}, but this UNet has no {target}.")
    found, shape = [file.shapes[key] for key in keys], shapes[target]
    if not (_is_product(*found, shape) if len(keys) == 2 else _dense(found[0]) == _dense(shape)):
        tensors = " and ".join(f"{key} {list(file.shapes[key])}" for key in keys)
        raise CheckpointError(
            f"{file.path}: {tensors} can't change the UNet's {target} {list(shape)}; it is a LoRA for "
            "another model."
        )
    return Delta(shape, *map(file.read, keys), scale=scale)


def _is_product(up: tuple[int, ...], down: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether up · down, both flattened to matrices, has the shape of a weight."""
    if not (up and down and down[0] and len(shape) > 1):
        return False
    return (up[0], math.prod(up[1:])) == (shape[0], down[0]) and _dense(down[1:]) == _dense(shape[1:])


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its ones: a linear layer is a convolution of one pixel elsewhere."""
    return tuple(size for size in shape if size != 1)


def _alpha(file: TensorFile, key: str | None) -> float | None:
    """The number beside a module's tensors; None where there is none."""
    if key is None:
        return None
    dtype, shape = file.dtypes[key], file.shapes[key]
    if math.prod(shape) != 1 or (isinstance(dtype, str) and dtype not in _INTEGERS):
        raise CheckpointError(f"{file.path}: {key} is {dtype} {list(shape)}; one number is expected.")
    return scaling.finite(file.read(key).item(), key, file.path)


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
