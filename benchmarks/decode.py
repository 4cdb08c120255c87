"""Measures the temporal decode: memory by budget, errors of decoding in chunks of frames, and time.

    python benchmarks/decode.py          the plans of svd_xt, and the seams on a tiny decoder; seconds
    python benchmarks/decode.py --time   also 25 frames 512×288 with the full-size decoder; 15 minutes, 16 GB

The weights are random: the numbers speak of arithmetic and memory, not of pictures.
"""

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from measure import table
from torch import Tensor

from stillmotion.svd_model import layerwise
from stillmotion.svd_model.layerwise.memory import release_unused
from stillmotion.svd_model.networks.vae import VAEParams, VideoDecoder

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from support import decoders

GB = 10**9
BUDGETS = (24, 16, 12, 8, 6, 4)
CHUNK = 7


def main() -> None:
    """Prints the tables that the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--time", action="store_true", help="also decode with the full-size decoder")
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--width", type=int, default=512, help="of the timed clip, in pixels")
    parser.add_argument("--height", type=int, default=288)
    parser.add_argument("--runs", type=int, default=1, help="of each, alternating")
    options = parser.parse_args()
    _print_plans()
    _print_seams()
    if options.time:
        _print_times(options)


def _print_plans() -> None:
    for device in ("cpu", "cuda"):
        options = {"temporal": True, "dtype": torch.float32, "device": device}
        planner = layerwise.DecodePlanner(VAEParams(), 25, 72, 128, **options)
        rows = []
        for budget in (None, *BUDGETS):
            plan = planner.within(budget and budget * GB)
            once = sum(layer.cached_rows >= layer.shape.height for layer in plan.layers[:-1])
            rows.append(
                (
                    f"{budget} GB" if budget else "none",
                    f"{plan.peak / GB:.1f} GB",
                    f"{plan.spilled / GB:.1f} GB",
                    f"{once} of {len(plan.layers) - 1}",
                )
            )
        least = planner.smallest().peak
        head = ("budget", "predicted peak", "elsewhere", "layers that compute nothing twice")
        title = f"25 frames 1024×576, float32, on {device}; the smallest is {least / GB:.2f} GB"
        print(f"\n{title}\n\n{table(head, rows)}", flush=True)


def _print_seams() -> None:
    decoder = decoders.decoder()
    z = torch.randn(25, 4, 8, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = decoder(z, len(z))
    smallest = decoders.smallest(z)
    methods: dict[str, Callable[[], Tensor]] = {
        "Stillmotion, no budget": lambda: torch.stack(list(layerwise.decode_frames(decoder, z))),
        f"Stillmotion, the smallest budget ({smallest / 1e6:.1f} MB)": lambda: torch.stack(
            list(layerwise.decode_frames(decoder, z, budget=smallest))
        ),
        f"chunks of {CHUNK}": lambda: _in_chunks(lambda part: decoder(part, len(part)), z),
        **_diffusers(decoder, z),
    }
    edges = {edge for start in range(CHUNK, len(z), CHUNK) for edge in (start - 1, start)}
    rows = []
    for name, decode in methods.items():
        with torch.no_grad():
            frames = decode()
            errors = (frames - whole).abs().flatten(1).amax(1) / whole.abs().max()
        at_seams = max(error for frame, error in enumerate(errors.tolist()) if frame in edges)
        elsewhere = max(error for frame, error in enumerate(errors.tolist()) if frame not in edges)
        jump = (frames.diff(dim=0) - whole.diff(dim=0)).abs().flatten(1).amax(1) / whole.abs().max()
        rows.append((name, f"{at_seams:.1e}", f"{elsewhere:.1e}", f"{jump[CHUNK - 1]:.1e}"))
    head = (
        "decode",
        "error at the seams",
        "error elsewhere",
        f"false jump from frame {CHUNK - 1} to {CHUNK}",
    )
    title = "Against the one-piece decode, relative to the largest magnitude; tiny decoder, 25 frames"
    print(f"\n{title}\n\n{table(head, rows)}", flush=True)


def _in_chunks(decode: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    return torch.cat([decode(part) for part in z.split(CHUNK)])


def _diffusers(decoder: VideoDecoder, z: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Decodes by diffusers with the decoder's weights; empty if diffusers is not installed."""
    try:
        from support import diffusers_models
    except ImportError:
        return {}
    vae = diffusers_models.vae(decoders.encoder(), decoder)

    def decode(part: Tensor) -> Tensor:
        return vae.decode(part, num_frames=len(part)).sample

    return {
        "diffusers, all frames at once": lambda: decode(z),
        f"diffusers, decode_chunk_size={CHUNK}": lambda: _in_chunks(decode, z),
    }


def _print_times(options: argparse.Namespace) -> None:
    torch.manual_seed(0)
    params = VAEParams()
    decoder = _random_decoder(params)
    height, width = options.height // params.downscale, options.width // params.downscale
    z = torch.randn(options.frames, params.z_channels, height, width)
    with torch.no_grad():
        decoder(z[:1], 1)  # libraries set up their state in the first call
    one_piece = 8 * params.channels * options.frames * options.height * options.width * 4
    budget = one_piece // 4

    def walk() -> Tensor:
        return torch.stack(list(layerwise.decode_frames(decoder, z, budget=budget)))

    def whole() -> Tensor:
        with torch.no_grad():
            return decoder(z, len(z))

    seconds: dict[str, list[float]] = {"one piece": [], "a quarter of its peak": []}
    peaks: dict[str, int] = {}
    for _ in range(options.runs):
        for (name, durations), decode in zip(seconds.items(), (whole, walk), strict=True):
            with _PeakMemory() as memory:
                began = time.perf_counter()
                frames = decode()
                durations.append(time.perf_counter() - began)
            peaks[name] = max(peaks.get(name, 0), memory.peak)
            if decode is whole:
                expected = frames
    error = ((frames - expected).abs().max() / expected.abs().max()).item()
    rows = [
        (name, f"{statistics.median(durations):.1f} s", f"{peaks[name] / GB:.2f} GB")
        for name, durations in seconds.items()
    ]
    first, second = (statistics.median(durations) for durations in seconds.values())
    title = f"{options.frames} frames {options.width}×{options.height}, full-size decoder"
    head = ("decode", "median time", "resident memory, peak above the weights")
    print(f"\n{title}\n\n{table(head, rows)}", flush=True)
    print(f"\nbudget {budget / GB:.2f} GB; time ratio {second / first:.3f}; largest error {error:.1e}")


def _random_decoder(params: VAEParams) -> VideoDecoder:
    """Builds a full-size decoder with random weights that preserve the variance of activations."""
    decoder = VideoDecoder(params, temporal=True, post_quant_conv=False)
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, weight[0].numel() ** -0.5)
            else:
                weight.fill_(1.0 if name.endswith("weight") else 0.0)
    return decoder.eval().requires_grad_(False)


class _PeakMemory:
    """Context that records the peak of this process's resident memory, above its start."""

    def __enter__(self) -> "_PeakMemory":
        release_unused(torch.device("cpu"))  # of earlier runs
        self._process = psutil.Process()
        self._first = self._process.memory_info().rss
        self.peak = 0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._run, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *error) -> None:
        self._over.set()
        self._watch.join()

    def _run(self) -> None:
        while not self._over.wait(0.01):
            self.peak = max(self.peak, self._process.memory_info().rss - self._first)


if __name__ == "__main__":
    main()
