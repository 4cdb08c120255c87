"""FLOPs of a guided UNet step and of a decode, 25 frames 1024×576, counted by torch on meta tensors.

    python benchmarks/flops.py [--frames N --width W --height H] [OUT.json]

Nothing is computed and no weights are needed. The counter knows matrix products, convolutions and attention.
Any other operator that multiplies would make the count too low, so it is an error.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from measure import table
from scale import find_modules
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

TERA = 10**12
FRAMES, WIDTH, HEIGHT = 25, 1024, 576
BARS = {"guided UNet step": 0.94, "VAE temporal decode": 0.89}
COSTLY = ("mm", "matmul", "linear", "conv", "attention", "einsum", "mkldnn", "attn", "dot", "mv")
HARMLESS = ("convert",)


def _formulas() -> dict:
    """Torch's formulas, extended to the in-place forms of two operators."""
    aten = torch.ops.aten
    in_place = {aten.addmm_: aten.addmm, aten.baddbmm_: aten.baddbmm}
    return {**flop_registry, **{operator: flop_registry[like] for operator, like in in_place.items()}}


FORMULAS = _formulas()


class Uncounted(TorchDispatchMode):
    """Context that gathers the names of operators that seem to multiply and have no formula."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        seems_costly = any(word in name for word in COSTLY) and not any(word in name for word in HARMLESS)
        if seems_costly and function._overloadpacket not in FORMULAS:
            self.names.add(name)
        return function(*args, **(kwargs or {}))


def count(call: Callable[[], object]) -> dict[str, int]:
    """Counts the FLOPs of a call by operator; raises ValueError for an operator without a formula."""
    uncounted = Uncounted()
    counter = FlopCounterMode(display=False)
    counter.flop_registry = FORMULAS
    with torch.no_grad(), counter, uncounted:
        call()
    if uncounted.names:
        raise ValueError(f"torch's counter doesn't know {', '.join(sorted(uncounted.names))}.")
    flops_by_operator = counter.get_flop_counts().get("Global", {})
    return {str(operator).removeprefix("aten."): flops for operator, flops in flops_by_operator.items()}


def measure(frames: int, width: int, height: int) -> dict:
    """Counts the FLOPs of Stillmotion and of diffusers, UNet and decoder."""
    find_modules()
    networks = full_size_networks()
    theirs = their_calls(networks, frames, width, height)
    ours = our_calls(networks, frames, width, height)
    return {name: {"Stillmotion": count(ours[name]), "diffusers": count(theirs[name])} for name in ours}


def full_size_networks() -> SimpleNamespace:
    """Builds Stillmotion's networks at full size, on meta."""
    from stillmotion.svd_model.networks.unet import UNetParams, VideoUNet
    from stillmotion.svd_model.networks.vae import ImageEncoder, VAEParams, VideoDecoder

    return SimpleNamespace(
        unet=VideoUNet(UNetParams(), device="meta").eval(),
        encoder=ImageEncoder(VAEParams(), quant_conv=True, device="meta").eval(),
        decoder=VideoDecoder(VAEParams(), temporal=True, post_quant_conv=False, device="meta").eval(),
    )


def our_calls(networks, frames: int, width: int, height: int) -> dict[str, Callable]:
    """Calls of Stillmotion: a guided step, and the layerwise decode."""
    from peers.ours import unet_on_meta

    from stillmotion.svd_model import layerwise

    for module in networks.decoder.modules():
        if hasattr(module, "mix_factor"):
            module.mix_factor = torch.nn.Parameter(
                torch.zeros(1)
            )  # not on meta, since the decode reads its value
    z = torch.empty(frames, 4, height // 8, width // 8, device="meta")
    return {
        "guided UNet step": unet_on_meta(networks.unet, z),
        "VAE temporal decode": lambda: list(layerwise.decode_frames(networks.decoder, z)),
    }


def their_calls(networks, frames: int, width: int, height: int) -> dict[str, Callable]:
    """Calls of diffusers' networks: a guided step, and a decode."""
    from support import diffusers_models

    unet = diffusers_models.unet(networks.unet)
    vae = diffusers_models.vae(networks.encoder, networks.decoder)
    x = torch.empty(2, frames, 8, height // 8, width // 8, device="meta")
    context = torch.empty(2, 1, networks.unet.params.context_dim, device="meta")
    numbers = torch.empty(2, 3, device="meta")
    z = torch.empty(frames, 4, height // 8, width // 8, device="meta")
    return {
        "guided UNet step": lambda: unet(x, torch.empty((), device="meta"), context, numbers),
        "VAE temporal decode": lambda: vae.decode(z, num_frames=frames),
    }


def rows(counts: dict) -> list[tuple]:
    """Table rows: totals, ratios and shares by operator."""
    table_rows = []
    for name, peers in counts.items():
        totals = {peer: sum(found.values()) for peer, found in peers.items()}
        for peer, found in peers.items():
            ratio = totals["Stillmotion"] / totals["diffusers"]
            ratio = f"{ratio:.3f} (bar {BARS[name]})" if peer == "Stillmotion" else ""
            order = sorted(found, key=found.get, reverse=True)
            text = ", ".join(f"{operator} {found[operator] / totals[peer]:.1%}" for operator in order)
            table_rows.append((name, peer, f"{totals[peer] / TERA:.2f}", ratio, text))
    return table_rows


def main() -> None:
    """Counts, prints the table, and writes it as JSON where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--height", type=int, default=HEIGHT)
    parser.add_argument("out", type=Path, nargs="?")
    options = parser.parse_args()
    counts = measure(options.frames, options.width, options.height)
    head = ("what", "peer", "TFLOP", "ours / theirs", "shares by operator")
    title = f"## FLOPs, {options.frames} frames {options.width}×{options.height}"
    text = f"{title}\n\n{table(head, rows(counts))}"
    if options.out is None:
        print(text)
    else:
        options.out.write_text(json.dumps({"markdown": text, "data": counts}))


if __name__ == "__main__":
    sys.exit(main())
