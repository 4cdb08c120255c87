"""Times the stages from a fresh process to its first guided step.

python load.py PEER SCALE PATH OUT [HOST]
"""

import time

BEGAN = time.perf_counter()

import json  # noqa: E402 (the clock starts first)
import sys  # noqa: E402
from pathlib import Path  # noqa: E402


def main() -> None:
    """Measures; writes the seconds of each stage, and beside them the step's output."""
    name, text, path, out, *host = sys.argv[1:]
    path, out = Path(path), Path(out)
    clock = Stages()
    load, scale = importer(name, text, path, host)
    clock.over("import")
    peer = load()
    clock.over("load")
    import torch
    from scale import make_inputs

    inputs = make_inputs(scale, 64 if scale.quick else 1024)
    clock.over("draw")  # counts for no peer
    _, concat = peer.condition(inputs.picture)
    # Core crops and resizes the picture for CLIP differently, so all peers continue with one embedding.
    step = peer.unet_step(inputs)
    clock.over("condition")
    denoised = step()
    clock.over("step")
    concat = concat.float().cpu().expand_as(denoised)
    torch.save(
        torch.cat([denoised, concat / concat.abs().max() * denoised.abs().max()]), out.with_suffix(".pt")
    )
    out.write_text(json.dumps({"seconds": clock.seconds, "peak": peak()}))


class Stages:
    """Clock of stages: the seconds between their ends."""

    def __init__(self):
        self.seconds, self._last = {}, BEGAN

    def over(self, name: str) -> None:
        """Ends the named stage."""
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now


def importer(name: str, text: str, path: Path, host: list[str]):
    """Imports only the modules that a peer needs; returns the function that loads it, and the scale."""
    from scale import Scale, find_modules
    from weights import single_file

    scale = Scale.from_json(text)
    if name == "diffusers":
        find_modules()
        from peers.diffusers import Diffusers

        return lambda: Diffusers.load(path / "diffusers", scale), scale
    if name == "ComfyUI core":
        from peers.core import Core, start

        start(Path(host[0]), scale)
        import comfy.sd  # noqa: F401 (its time is the import's)
        import comfy_extras.nodes_video_model  # noqa: F401

        return lambda: Core.load(single_file(path), scale), scale
    from peers.ours import Ours

    return lambda: Ours.load(single_file(path), scale, ("unet", "vision", "encoder")), scale


def peak() -> int | None:
    """Peak of this process's resident memory in bytes, or None if the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


if __name__ == "__main__":
    main()
