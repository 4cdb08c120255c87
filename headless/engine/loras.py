"""LoRAs of a pipeline: files with their strengths, folded into the UNet of a checkpoint."""

import copy
import math
import os
from collections.abc import Sequence
from numbers import Real

from ...svd_model.adapters.lora import Applied, LoRA, Strengths, folded
from ...svd_model.checkpoint import Checkpoint

Choice = str | os.PathLike[str] | tuple | Applied
"""A file, or a tuple of file, strength and, if it is another, strength of the layers over time."""


def read(checkpoint: Checkpoint, choices: Sequence[Choice]) -> tuple[Applied, ...]:
    """Opens LoRAs for a checkpoint's UNet; ValueError for a choice or a file that can't be used."""
    if isinstance(choices, str) or not isinstance(choices, Sequence):
        raise ValueError(f"loras is {choices!r}; give a list of files, as in ['style.safetensors'].")
    return tuple(
        each if isinstance(each, Applied) else _read(checkpoint, *_in_parts(each)) for each in choices
    )


def with_loras(checkpoint: Checkpoint, loras: Sequence[Applied]) -> Checkpoint:
    """The checkpoint with LoRAs in its UNet; all other networks are the checkpoint's own."""
    if not loras:
        return checkpoint
    changed = copy.copy(checkpoint)
    changed.unet = folded(checkpoint.unet, loras)
    return changed


def _read(checkpoint: Checkpoint, file: str | os.PathLike[str], strengths: Strengths) -> Applied:
    return Applied(LoRA.open(file, checkpoint.unet.expected), strengths)


def _in_parts(choice: Choice) -> tuple[str | os.PathLike[str], Strengths]:
    file, *numbers = choice if isinstance(choice, tuple) and choice else (choice,)
    strength = numbers[0] if numbers else 1.0
    temporal = numbers[1] if len(numbers) > 1 and numbers[1] is not None else strength
    strengths = Strengths(strength, temporal)
    real = all(isinstance(number, Real) and math.isfinite(number) for number in strengths)
    if not isinstance(file, str | os.PathLike) or len(numbers) > 2 or not real:
        raise ValueError(
            f"a LoRA is given as {choice!r}; give a file, or a tuple of a file, its strength and the "
            "strength of its layers over time."
        )
    return file, strengths
