"""Compares, in one process, the peers that its Python has, on equal tensors and part by part.

python compare.py SCALE PATH PARTS OUT [HOST]
"""

import json
import sys
from pathlib import Path

import torch
from measure import DisagreementError, compare
from scale import Inputs, Scale, find_modules, make_inputs
from weights import single_file

PARTS = ("unet", "decode", "embed", "clip")
EIGHT_BITS = 1 / 255


def main() -> None:
    """Measures the parts and writes the results as JSON."""
    scale, path = Scale.from_json(sys.argv[1]), Path(sys.argv[2])
    parts, out, host = sys.argv[3].split(","), Path(sys.argv[4]), sys.argv[5:]
    find_modules()
    from stillmotion.svd_model.layerwise.memory import release_unused

    peers = host_peers(scale, path, Path(host[0])) if host else package_peers(scale, path)
    # Memory freed while peers were built would spare large blocks the page faults of a user's process.
    release_unused(torch.device("cpu"))
    inputs = make_inputs(scale, peers[0].checkpoint.unet.params.context_dim, plain_picture=bool(host))
    results = {}
    for part in parts:
        results[part] = measure_part(part, peers, inputs, scale)
        out.write_text(json.dumps({"torch": torch.__version__, "parts": results}))


def measure_part(part: str, peers: list, inputs: Inputs, scale: Scale) -> dict:
    """Compares the peers in one part; if none agrees with the first, returns the reason."""
    calls = {}
    for peer in peers:
        call = getattr(peer, {"unet": "unet_step"}.get(part, part))(inputs)
        calls[peer.name] = _clamped(call) if part == "decode" else call
    print(f"{part}: {', '.join(calls)}", flush=True)
    rough = part == "clip" and scale.dtype != "float32"  # many steps let single pixels drift far
    bound = scale.bound + (EIGHT_BITS if part == "clip" else 0)
    try:
        return compare(calls, scale.pairs, bound, root_mean_square=rough)
    except DisagreementError as error:
        return {"refused": [str(error)]}


def _clamped(decode):
    """Wraps a decode to clamp its frames to [−1, 1], as core does."""
    return lambda: decode().clamp(-1, 1)


def package_peers(scale: Scale, path: Path) -> list:
    """Loads Stillmotion and diffusers, on a GPU also compiled."""
    from peers.diffusers import Diffusers
    from peers.ours import Ours

    ours = Ours.load(single_file(path), scale)
    peers = [ours, Diffusers.of_checkpoint(ours.checkpoint, scale)]
    if scale.device == "cuda":
        peers.append(peers[1].compiled())
        peers.append(Ours.load(single_file(path), scale, compiled=True))
        peers[-1].name = f"{ours.name}, compiled"
    return peers


def host_peers(scale: Scale, path: Path, host: Path) -> list:
    """Loads Stillmotion, core and Stillmotion's nodes, in a ComfyUI's Python."""
    from peers.core import Core, start  # first, since importing the host reads the command line

    start(host, scale)
    from peers.ours import Ours

    ours = Ours.load(single_file(path), scale)
    peers = [ours, Core.load(single_file(path), scale), Core.load_nodes(single_file(path), scale)]
    if scale.device == "cpu":
        for peer in peers[1:]:
            peer.share_weights(ours.checkpoint)
    return peers


if __name__ == "__main__":
    main()
