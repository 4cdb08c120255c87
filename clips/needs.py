"""Memory that a clip needs, a stage at a time: bytes of weights, and of activations from least to fastest.

Both doors read these numbers, and plan with the planners that give them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from ..svd_model import layerwise
from ..svd_model.checkpoint import Checkpoint, Part
from ..svd_model.layerwise import streaming

Size = tuple[int, int, int]
"""Frames, height and width of a clip's latents."""

GUIDED = 2
"""Branches that plain guidance compares, which go through the UNet together where there is room."""


@dataclass(frozen=True)
class Need:
    """Bytes of a stage of a clip on the device."""

    network: str
    work: str
    weights: int
    streamed: int  # most weights at once while they stream from host memory
    least: int  # of activations
    fastest: int  # of activations, from which more makes nothing faster
    slowdown: Callable[[int], float]  # times the work of the fastest, for bytes of activations


def to_embed(checkpoint: Checkpoint, dtype: torch.dtype) -> Need:
    """Need of the image tower, which takes all pictures at one small size."""
    sizes = checkpoint.vision.sizes_in(dtype)
    activations = checkpoint.vision.params.memory(dtype)
    weights = sum(sizes.values())
    return Need(
        network=checkpoint.vision.name,
        work="embedding the picture",
        weights=weights,
        streamed=min(weights, 2 * max(sizes.values())),
        least=activations,
        fastest=activations,
        slowdown=lambda budget: 1.0,
    )


def to_encode(checkpoint: Checkpoint, height: int, width: int, device: torch.device) -> Need:
    """Need of the encoder for a picture of a size in pixels; it computes in float32."""
    part = checkpoint.encoder
    planner = layerwise.EncodePlanner(part.params, height, width, dtype=torch.float32, device=device)
    work = f"encoding a picture of {width}×{height}"
    return _planned(part.name, work, part.sizes_in(torch.float32), planner)


def to_sample(
    checkpoint: Checkpoint,
    size: Size,
    dtype: torch.dtype,
    device: torch.device,
    branches: int = GUIDED,
    cached: int = 0,
    control: Part | None = None,
    early: int | None = None,
    exchanges: bool = False,
) -> Need:
    """Need of the UNet for latents of a size; its weights can stream, a stage at a time.

    cached: how many sets of deep features are kept between evaluations. control: a ControlNet that is
    there and evaluated with it. early: the stage before which branches share features, which are optional:
    the least memory is without them. exchanges: whether the frames are a process's own, beside others'.
    """
    part, scale = checkpoint.unet, checkpoint.decoder.params.downscale
    frames, height, width = size
    dtypes = part.dtypes if control is None else (*part.dtypes, *control.dtypes)
    casts = any(stored != dtype and stored.itemsize <= dtype.itemsize for stored in dtypes)
    options = {"cached": cached, "casts": casts, "controlled": control is not None, "exchanges": exchanges}
    planner = layerwise.UNetPlanner(part.params, branches, *size, dtype, device, **options)
    work = f"sampling {frames} frames of {scale * width}×{scale * height}"
    sizes = part.sizes_in(dtype)
    streamed = streaming.largest_stage(sizes)
    if control is not None:
        beside = control.sizes_in(dtype)
        streamed = max(streamed, streaming.largest_stage(beside))  # one runs after the other
        sizes |= {f"{control.name} {key}": size for key, size in beside.items()}
    sharing = replace(planner, early=early)
    return _planned(part.name, work, sizes, planner, streamed, fastest=sharing.within(None).peak)


def to_decode(
    checkpoint: Checkpoint, size: Size, frame_wise: bool, dtype: torch.dtype, device: torch.device
) -> Need:
    """Need of a decoder for latents of a size."""
    part = checkpoint.decoder_for(frame_wise)
    temporal, scale = checkpoint.variant.temporal_decoder and not frame_wise, part.params.downscale
    frames, height, width = size
    planner = layerwise.DecodePlanner(part.params, *size, temporal=temporal, dtype=dtype, device=device)
    work = f"decoding {frames} frames of {scale * width}×{scale * height}"
    return _planned(part.name, work, part.sizes_in(torch.float32), planner)


def in_words(stages: Sequence[Need]) -> list[str]:
    """A sentence for each stage: the least memory with all of its weights, and how much makes it fastest."""
    units = layerwise.in_units
    return [
        f"{need.work}: {units(need.weights + need.least)}, "
        f"fastest from {units(need.weights + need.fastest)} on"
        for need in stages
    ]


def _planned(
    name: str,
    work: str,
    sizes: dict[str, int],
    planner,
    streamed: int | None = None,
    fastest: int | None = None,
) -> Need:
    """Need of a network by its planner; without `streamed` its weights stay on the device.

    fastest: bytes of activations, where they are more than the planner's fastest plan has.
    """
    plan, weights = planner.within(None), sum(sizes.values())
    return Need(
        network=name,
        work=work,
        weights=weights,
        streamed=weights if streamed is None else streamed,
        least=planner.smallest().peak,
        fastest=plan.peak if fastest is None else fastest,
        slowdown=lambda budget: planner.within(budget).calls / plan.calls,
    )
