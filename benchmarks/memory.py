"""Measures one peer's peak memory in a fresh process, for a guided step or a decode.

python memory.py PEER SCALE PATH PART OUT [HOST]
"""

import json
import sys
from pathlib import Path

import torch
from load import peak
from scale import Scale, find_modules, make_inputs
from weights import single_file

HOST_PEERS = ("ComfyUI core", "Stillmotion's nodes")
_PAGE = 4096


def main() -> None:
    """Measures; writes the bytes as JSON."""
    name, text, path, part, out, *host = sys.argv[1:]
    scale = Scale.from_json(text)
    find_modules()
    peer = _load(name, scale, Path(path), part, host)
    network = peer.network("unet" if part == "unet" else "decoder")
    inputs = make_inputs(scale, 64 if scale.quick else 1024)
    call = peer.unet_step(inputs) if part == "unet" else peer.decode(inputs)
    weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    start = _settle(network, scale)
    output = call()
    assert torch.isfinite(output).all()
    most = torch.cuda.max_memory_allocated() if scale.device == "cuda" else peak()
    Path(out).write_text(json.dumps({"peak": most, "above": most - start, "weights": weights}))


def _load(name: str, scale: Scale, path: Path, part: str, host: list[str]):
    parts = ("unet",) if part == "unet" else ("decoder",)
    if name in HOST_PEERS:
        from peers.core import Core, start

        start(Path(host[0]), scale)
        return Core.load(single_file(path), scale, parts)
    if name == "diffusers":
        from peers.diffusers import Diffusers

        return Diffusers.load(path / "diffusers", scale, parts)
    from peers.ours import Ours

    return Ours.load(single_file(path), scale, parts)


def _settle(network: torch.nn.Module, scale: Scale) -> int:
    """Reads all weights into memory, releases the rest and restarts the peak; returns the bytes in use."""
    if scale.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    from stillmotion.svd_model.layerwise.memory import release_unused

    for weight in network.parameters():
        weight.detach().view(-1)[:: _PAGE // weight.element_size()].sum()  # touches each page
    release_unused(torch.device("cpu"))
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM to the current size
    return peak()


if __name__ == "__main__":
    main()
