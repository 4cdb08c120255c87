"""ExVideo: temporal blocks of an SVD UNet trained for 128 frames (Duan et al., 2024), in a file of their own.

The file has the blocks whole, numbered in the order of the network, under the names of its authors. Each
block also has learned positions of frames, and a convolution.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from ..checkpoint import Checkpoint
from ..checkpoint.folders import open_tensors
from ..checkpoint.layouts import with_plain_names
from ..checkpoint.layouts.origins import Origin, renamed
from ..checkpoint.layouts.released import UNET
from ..checkpoint.sizes import Shapes
from ..checkpoint.sources import AnotherFileWanted, CheckpointError, TensorFile, joined

_KEY = re.compile(r"blocks\.(\d{1,4})\.(.+)")
_FIRST = "time_pos_embed.0.weight"  # in each transformer, and in no other layer
_TRANSFORMER = re.compile(rf"((input_blocks|middle_block|output_blocks)\.(?:(\d{{1,3}})\.)?\d\.){_FIRST}")
_PARTS = ("input_blocks", "middle_block", "output_blocks")
_REPLACED = ("time_stack.0.", "time_pos_embed.")
_NEW = ("positional_embedding.embeddings", "positional_conv.weight", "positional_conv.bias")
_WANTED = "give ExVideo's model.fp16.safetensors."

_IN_TRANSFORMER = {
    "positional_embedding_proj.": "time_pos_embed.",
    "positional_embedding.": "positional_embedding.",
    "positional_conv.": "positional_conv.",
}
_IN_BLOCK = {
    "act_fn_in.": "ff_in.net.0.",
    "ff_in.": "ff_in.net.2.",
    "act_fn_out.": "ff.net.0.",
    "ff_out.": "ff.net.2.",
    "norm_out.": "norm3.",
    "attn1.to_out.": "attn1.to_out.0.",
    "attn2.to_out.": "attn2.to_out.0.",
}
"""The authors' names to ours, of a transformer's parts and of its temporal block's."""


def name_in_transformer(name: str) -> str:
    """The name of a block's tensor in our transformer, such as time_stack.0.norm_in.weight."""
    for names, place in ((_IN_TRANSFORMER, ""), (_IN_BLOCK, "time_stack.0.")):
        for theirs, ours in names.items():
            if name.startswith(theirs):
                return place + ours + name[len(theirs) :]
    return f"time_stack.0.{name}"


def released_names(base: Shapes, keys: Iterable[str]) -> dict[str, str]:
    """Released names of a file's tensors to their keys, for a base under the released names.

    Raises ValueError where the base has other temporal blocks.
    """
    found = [(match, key) for key in keys if (match := _KEY.fullmatch(key))]
    numbers = sorted({int(match[1]) for match, _ in found})
    transformers = _transformers(base)
    if len(numbers) != len(transformers):
        raise ValueError(f"it has {len(numbers)} temporal blocks, the checkpoint {len(transformers)}")
    place = dict(zip(numbers, transformers, strict=True))
    names = {place[int(match[1])] + name_in_transformer(match[2]): key for match, key in found}
    replaced = tuple(prefix + part for prefix in transformers for part in _REPLACED)
    wanted = [key for key in base if key.startswith(replaced)]
    wanted += [prefix + name for prefix in transformers for name in _NEW]
    lacking = [name for name in wanted if name not in names]
    if lacking:
        raise ValueError(f"it lacks {len(lacking)} tensors of its blocks ({lacking[0]})")
    return names


def over(base: TensorFile, file: TensorFile) -> TensorFile:
    """A view of a checkpoint under the released names, with an ExVideo file's temporal blocks in its UNet.

    Raises CheckpointError for another kind of file, and where the two don't fit.
    """
    if not any(key.endswith(".positional_embedding.embeddings") for key in file.shapes):
        raise CheckpointError(
            f"{file.path} is no ExVideo file, which has learned positions of frames "
            f"(positional_embedding.embeddings); {_WANTED}"
        )
    try:
        origins = released_names(base.shapes, file.shapes)
    except ValueError as error:
        raise _misfit(base, file, str(error)) from error
    for name, key in origins.items():
        expected = base.shapes.get(name)
        if expected is not None and expected != file.shapes[key]:
            shapes = f"its {key} is {list(file.shapes[key])}, the checkpoint's {list(expected)}"
            raise _misfit(base, file, shapes)

    blocks = renamed(file, {name: Origin((key,)) for name, key in origins.items()}).having(origins)
    return joined(base.path, [blocks, base], base.metadata)


def opened(checkpoint: Checkpoint, path: str | Path) -> Checkpoint:
    """A checkpoint with the temporal blocks of an ExVideo file; reads headers alone."""
    try:
        file = with_plain_names(open_tensors(path))
    except AnotherFileWanted as error:
        raise CheckpointError(f"{error.found}; {_WANTED}") from error
    return Checkpoint(over(checkpoint.file, file), checkpoint.places)


def _transformers(base: Shapes) -> list[str]:
    """Prefixes of the transformers of a UNet, in the order of the network."""
    matches = (_TRANSFORMER.fullmatch(key[len(UNET) :]) for key in base if key.startswith(UNET))
    places = [((_PARTS.index(match[2]), int(match[3] or 0)), match[1]) for match in matches if match]
    return [UNET + prefix for _, prefix in sorted(places)]


def _misfit(base: TensorFile, file: TensorFile, words: str) -> CheckpointError:
    return CheckpointError(
        f"{file.path} does not fit {base.path}: {words}. Give ExVideo's file with the checkpoint that it was "
        "trained over, svd_xt."
    )
