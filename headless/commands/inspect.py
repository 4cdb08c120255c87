"""The report of `inspect` on a checkpoint file, and on the memory that a clip needs."""

from argparse import Namespace
from collections.abc import Iterator, Sequence

import torch

from ...clips.needs import Need
from ...clips.plan import Plan
from ...clips.presets import SVD, SVD_XT
from ...clips.settings import Settings
from ...svd_model import layerwise
from ...svd_model.checkpoint import Checkpoint, Part
from ..engine import memory
from ..engine.devices import find_device, find_dtype
from ..engine.fit import Fit, latent_size
from ..pipeline import DECODE_DTYPES

_MOST_KEYS = 10

_CARDS = tuple(size * 10**9 for size in (2, 3, 4, 6, 8, 12, 16, 24, 48))
"""Free memory for which the report says how a clip runs."""


def describe(checkpoint: Checkpoint) -> str:
    """Describes the variant, its sizes, each network, missing and unexpected tensors, in lines of text."""
    variant = checkpoint.variant
    defaults = Settings().complete(variant)
    frames = f"{defaults.num_frames} frames"
    if variant.conditioning == "svd" and defaults.num_frames == SVD_XT.num_frames:
        frames += f" ({SVD.num_frames} for the svd without xt, which has the same keys)"
    total = sum(network.parameters for network in checkpoint.networks)
    lines = [
        str(checkpoint.file.path),
        f"variant      {variant.name}: {frames}, {defaults.width}×{defaults.height}, {defaults.steps} steps, "
        f"{defaults.guidance} guidance {defaults.min_guidance:g} to {defaults.max_guidance:g}",
        f"file         {_bytes(checkpoint.file.size)}, {len(checkpoint.file.shapes)} tensors",
        f"parameters   {_millions(total)} used",
    ]
    lines += [_network_line(network, checkpoint) for network in checkpoint.networks]
    if checkpoint.variant.temporal_decoder:
        frame_wise = checkpoint.frame_wise_decoder
        words = "  frame-wise decoder   not in this file"
        lines.append(_network_line(frame_wise, checkpoint) if frame_wise else words)
    lines += _absent(checkpoint)
    for network in checkpoint.networks:
        lines += [] if network.absent else _listing("missing", network.missing)
        lines += _listing("wrong shape", network.mismatched)
    lines += [f"misfit       {misfit}" for misfit in checkpoint.misfits()]
    lines += _listing("unexpected", checkpoint.unexpected())
    lines.append(f"not needed   {len(checkpoint.not_needed())} tensors of parts that animating does without")
    lines.append(
        "verdict      " + ("whole" if checkpoint.complete else "not whole: it can't be used as it is")
    )
    return "\n".join(lines)


def describe_clip(checkpoint: Checkpoint, options: Namespace) -> str:
    """Describes the memory of each stage of a clip, and how it runs in little and in much, in lines of text.

    The device of the options need not be in this machine.
    """
    width, height, frames = options.clip
    plan = Plan.of(Settings(width=width, height=height, num_frames=frames), checkpoint.variant)
    device = find_device(None) if options.device is None else torch.device(options.device)
    dtype, decode_dtype = find_dtype(options.dtype, device), DECODE_DTYPES[options.decode_dtype]
    fit = Fit(checkpoint, device, dtype, decode_dtype)
    size = latent_size(checkpoint, plan)
    at_once = plan.settings.frames_at_once
    fit.check(size, frame_wise=False, at_once=at_once)
    stages = fit.stages(size, frame_wise=False, at_once=at_once)
    most = max(stages, key=fit.smallest)
    lines = [
        f"clip         {frames} frames of {width}×{height}, in {_name(dtype)} and decoded in "
        f"{_name(decode_dtype)}, on {device}",
        f"  {'stage':<20} {'weights':>9}  {'least':>9}  {'fastest':>9}  (beside the weights)",
    ]
    for need in stages:
        sizes = "  ".join(f"{_bytes(size):>9}" for size in (need.weights, need.least, need.fastest))
        lines.append(f"  {need.network:<20} {sizes}")
    lines.append(f"least        {layerwise.in_units(fit.smallest(most))}, for {most.work}")
    lines += [f"in {_bytes(card):<9} {_run_in(fit, stages, card)}" for card in _CARDS]
    free = memory.available(device) if device == find_device(None) or device.type == "cpu" else None
    if free is not None:
        lines.append(f"free here    {_bytes(free)}: {_run_in(fit, stages, free)}")
    return "\n".join(lines)


def _run_in(fit: Fit, stages: Sequence[Need], free: int) -> str:
    """How a clip runs in bytes of free memory."""
    room = int(layerwise.SHARE_OF_FREE * free) - memory.overhead(fit.device)
    most = max(stages, key=fit.smallest)
    if fit.smallest(most) - memory.overhead(fit.device) > room:
        return f"too little for {most.work}"
    ways = [way for need in stages for way in _ways(fit, need, room)]
    others = sum(need.weights for need in stages)
    if all(not fit.choose(need, room, others - need.weights).alone for need in stages):
        ways.append("all networks stay on the device")
    return ", ".join(ways) or "each stage at its fastest, its network alone on the device"


def _ways(fit: Fit, need: Need, room: int) -> Iterator[str]:
    """What a stage does in a room to fit it, and its time as a multiple of the fastest."""
    choice = fit.choose(need, room)
    if choice.streams:
        yield f"the weights of the {need.network} stream from host memory"
    slowdown = need.slowdown(choice.activations)
    if slowdown > 1:
        yield f"{need.network} {slowdown:.2f} × the calls"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _network_line(network: Part, checkpoint: Checkpoint) -> str:
    dtypes = ", ".join(map(_name, network.dtypes)) or "-"
    elsewhere = "" if network.path == checkpoint.file.path else f"  from {network.path}"
    size = f"{_millions(network.parameters):>10}  {_bytes(network.size):>9}"
    return f"  {network.name:<20} {size}  {dtypes}{elsewhere}"


_BRING = {
    "CLIP image tower": "--image-encoder, such as with image_encoder/ of a model in diffusers' layout",
    "VAE encoder": "--vae, such as with vae/ of a model in diffusers' layout",
}
_BRING |= dict.fromkeys(("temporal decoder", "frame-wise decoder"), _BRING["VAE encoder"])


def _absent(checkpoint: Checkpoint) -> Iterator[str]:
    """A line for each network that no file has, and the option that brings it."""
    for network in checkpoint.networks:
        if network.absent and network.name in _BRING:
            yield f"absent       {network.name}: {_BRING[network.name]}, or with a whole svd or svd_xt file"


def _listing(what: str, keys: Sequence[str]) -> list[str]:
    if not keys:
        return []
    lines = [f"{what:<12} {len(keys)} tensors"] + [f"  {key}" for key in keys[:_MOST_KEYS]]
    return lines if len(keys) <= _MOST_KEYS else [*lines, f"  … and {len(keys) - _MOST_KEYS} more"]


def _millions(count: int) -> str:
    return f"{count / 1e6:,.2f} M"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.2f} MB"
