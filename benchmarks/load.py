"""A fresh process: from nothing to the first guided step, each stage timed.

python load.py PEER SCALE PATH OUT [HOST]
"""

import time

BEGAN = time.perf_counter()

import json  # noqa: E402 (the clock comes first)
import sys  # noqa: E402
from pathlib import Path  # noqa: E402


def main() -> None:
    """Measures and writes the seconds of each stage; the step's output goes beside them."""
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
    clock.over("draw")  # is nobody's work
    _, concat = peer.condition(inputs.picture)
    # Core crops and resizes the picture for CLIP in its own way: all go on with one embedding.
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
    """Seconds from one stage's end to the next one's."""

    def __init__(self):
        self.seconds, self._last = {}, BEGAN

    def over(self, name: str) -> None:
        """The stage of that name has just ended."""
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now


def importer(name: str, text: str, path: Path, host: list[str]):
    """Imports what a peer needs, and no more; what then loads it, and the scale."""
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
    """The most resident memory of this process so far, in bytes, where the system says so."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


if __name__ == "__main__":
    main()
