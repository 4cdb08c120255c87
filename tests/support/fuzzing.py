"""Headers of files with faults drawn at random: keys, shapes, dtypes, metadata, wrappers."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from stillmotion.svd_model.checkpoint.notes import METADATA_KEY, NOTES
from stillmotion.svd_model.checkpoint.sources import TensorFile

Shape = tuple[int, ...]

SIZES = (0, 1, 2, 3, 7, 31, 33, 40, 64, 100, 257, 1280, 2**20, 2**31 - 1, 2**40)
DTYPES = (torch.float64, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.int8, torch.bool, "I4", "F4")
PREFIXES = (
    *("module.", "_orig_mod.", "model.", "state_dict.", "diffusion_model.", "unet.", "vae.", "ema."),
    *("first_stage_model.", "model.diffusion_model.", "taesd_decoder.", "decoder.", "base_model.model."),
    *("conditioner.embedders.0.open_clip.model.visual.", "vision_model.", "controlnet.", "lora_unet_", "."),
)
VALUES = (
    *(100, 0, -1, 1, 7, 16, 2**13, 2**70, 1.5, float("nan"), "16", "", None, True),
    *([], [[1, 2, 3]] * 5, {}),
)
"""Values of a note about the file."""


@dataclass
class Header:
    """What a file says of itself: names, shapes and dtypes of tensors, and metadata."""

    shapes: dict[str, Shape]
    dtypes: dict[str, torch.dtype | str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    def file(self) -> TensorFile:
        """A file with this header, whose tensors are on meta, except small ones, which may be notes."""
        dtypes = {key: self.dtypes.get(key, torch.float16) for key in self.shapes}

        def read(key: str) -> Tensor:
            shape, dtype = self.shapes[key], dtypes[key]
            assert isinstance(dtype, torch.dtype), f"{key} of an unknown dtype was read"
            return torch.ones(shape, device="cpu" if math.prod(shape) <= 64 else "meta").to(dtype)

        return TensorFile(Path("fuzzed.safetensors"), 1, dict(self.shapes), dtypes, self.metadata, read)


def mutated(shapes: dict[str, Shape], random: Random) -> Header:
    """A header with one to three faults."""
    header = Header(dict(shapes))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        random.choice(MUTATIONS)(header, random)
    return header


def _key(header: Header, random: Random) -> str:
    return random.choice(sorted(header.shapes) or ["none"])


def _beginning(header: Header, random: Random) -> str:
    """The beginning of some keys, which ends in a dot."""
    parts = _key(header, random).split(".")
    return ".".join(parts[: random.randint(1, len(parts))])


def _rename(header: Header, name: Callable[[str], str]) -> None:
    header.dtypes = {name(key): dtype for key, dtype in header.dtypes.items()}
    header.shapes = {name(key): shape for key, shape in header.shapes.items()}


def _drop_keys(header: Header, random: Random) -> None:
    for _ in range(random.choice((1, 2, 10))):
        header.shapes.pop(_key(header, random), None)


def _drop_part(header: Header, random: Random) -> None:
    beginning = _beginning(header, random)
    for key in [key for key in header.shapes if key.startswith(beginning)]:
        del header.shapes[key]


def _keep_part(header: Header, random: Random) -> None:
    beginning = _beginning(header, random)
    header.shapes = {key: shape for key, shape in header.shapes.items() if key.startswith(beginning)}


def _repeat_key(header: Header, random: Random) -> None:
    key, other = _key(header, random), _key(header, random)
    header.shapes[random.choice((key + ".copy", "copy." + key, other))] = header.shapes.get(key, ())


def _rename_key(header: Header, random: Random) -> None:
    key = _key(header, random)
    place = random.randrange(len(key) + 1)
    letter = random.choice(".0123456789_ax\u00e9\0 ")
    header.shapes[key[:place] + letter + key[place + random.randint(0, 1) :]] = header.shapes.pop(key, ())


def _rename_segment(header: Header, random: Random) -> None:
    """Another name, or number, for a segment of all keys that have it."""
    old = random.choice(_key(header, random).split("."))
    new = random.choice(("0", "1", "9", "99999", "weight", "lora_A", "time_stack", "base_layer", ""))
    _rename(header, lambda key: ".".join(new if segment == old else segment for segment in key.split(".")))


def _wrap(header: Header, random: Random) -> None:
    prefix = random.choice(PREFIXES)
    _rename(header, lambda key: prefix + key)


def _unwrap(header: Header, random: Random) -> None:
    beginning = _beginning(header, random) + "."
    _rename(header, lambda key: key.removeprefix(beginning))


def _wrap_inside(header: Header, random: Random) -> None:
    beginning, prefix = _beginning(header, random) + ".", random.choice(PREFIXES)
    _rename(header, lambda key: key.replace(beginning, beginning + prefix, 1))


def _change_shape(header: Header, random: Random) -> None:
    key = _key(header, random)
    shape = list(header.shapes.get(key, ()))
    if shape and random.random() < 0.7:
        axis = random.randrange(len(shape))
        shape[axis] = random.choice((*SIZES, shape[axis] + 1, max(0, shape[axis] - 1), 2 * shape[axis]))
    else:
        shape = random.choice(([], shape[:-1], [*shape, 1], [1, *shape], shape[::-1], [2] * 9))
    header.shapes[key] = tuple(shape)


def _change_width(header: Header, random: Random) -> None:
    """Another number for one size, and for its multiples, in a whole part: its widths still fit."""
    beginning = random.choice((_beginning(header, random), ""))
    old = random.choice([size for shape in header.shapes.values() for size in shape] or [1]) or 1
    old, new = random.choice((old, 32)), random.choice((*SIZES, old + 1, 2 * old))
    for key, shape in header.shapes.items():
        if key.startswith(beginning):
            header.shapes[key] = tuple(size // old * new if size % old == 0 else size for size in shape)


def _change_dtypes(header: Header, random: Random) -> None:
    dtype = random.choice(DTYPES)
    keys = list(header.shapes) if random.random() < 0.5 else [_key(header, random)]
    header.dtypes |= dict.fromkeys(keys, dtype)


def _write_notes(header: Header, random: Random) -> None:
    notes = {random.choice(NOTES): random.choice(VALUES) for _ in range(random.choice((1, 2)))}
    written = random.choice((json.dumps(notes), "[" * random.choice((1, 10**5)), "null", "[]", '{"a', ""))
    header.metadata[METADATA_KEY] = json.dumps(notes) if random.random() < 0.8 else written


def _write_notes_as_tensors(header: Header, random: Random) -> None:
    tower = "conditioner.embedders.0.open_clip.model.visual."
    key = random.choice(("", tower)) + "stillmotion." + random.choice(NOTES)
    header.shapes[key] = random.choice(((), (1,), (5, 3), (64,), (65,), (0,), (2**40,)))
    header.dtypes[key] = random.choice((torch.float32, *DTYPES))


def _add_foreign_keys(header: Header, random: Random) -> None:
    names = (
        *("lora_A.weight", "lora.down.weight", "hada_w1", "scale_weight", "scaled_fp8", "comfy_quant"),
        *("controlnet_cond_embedding.conv_in.weight", "temporal_res_block.norm1.weight", "time_mix_blocks"),
        *("1.weight", "3.conv.0.weight", "decoder.conv_in.weight", "model.diffusion_model.x.time_stack.y"),
    )
    header.shapes[random.choice(("", _key(header, random) + ".")) + random.choice(names)] = (4, 4)


MUTATIONS: tuple[Callable[[Header, Random], None], ...] = (
    *(_drop_keys, _drop_part, _keep_part, _repeat_key, _rename_key, _rename_segment, _wrap, _unwrap),
    *(_wrap_inside, _change_shape, _change_shape, _change_width, _change_width, _change_dtypes),
    *(_write_notes, _write_notes_as_tensors, _add_foreign_keys),
)
