"""The report of `inspect` on a checkpoint file."""

from collections.abc import Sequence

from ...clips.presets import SVD, SVD_XT
from ...clips.settings import Settings
from ...svd_model.checkpoint import Checkpoint, Part

_MOST_KEYS = 10


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
    lines += [_network_line(network) for network in checkpoint.networks]
    if checkpoint.variant.temporal_decoder:
        frame_wise = checkpoint.frame_wise_decoder
        lines.append(_network_line(frame_wise) if frame_wise else "  frame-wise decoder   not in this file")
    for network in checkpoint.networks:
        lines += _listing("missing", network.missing)
        lines += _listing("wrong shape", network.mismatched)
    lines += [f"misfit       {misfit}" for misfit in checkpoint.misfits()]
    lines += _listing("unexpected", checkpoint.unexpected())
    lines.append(f"not needed   {len(checkpoint.not_needed())} tensors of parts that animating does without")
    lines.append(
        "verdict      " + ("whole" if checkpoint.complete else "not whole: it can't be used as it is")
    )
    return "\n".join(lines)


def _network_line(network: Part) -> str:
    dtypes = ", ".join(str(dtype).removeprefix("torch.") for dtype in network.dtypes) or "-"
    return f"  {network.name:<20} {_millions(network.parameters):>10}  {_bytes(network.size):>9}  {dtypes}"


def _listing(what: str, keys: Sequence[str]) -> list[str]:
    if not keys:
        return []
    lines = [f"{what:<12} {len(keys)} tensors"] + [f"  {key}" for key in keys[:_MOST_KEYS]]
    return lines if len(keys) <= _MOST_KEYS else [*lines, f"  … and {len(keys) - _MOST_KEYS} more"]


def _millions(count: int) -> str:
    return f"{count / 1e6:,.2f} M"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.2f} MB"
