"""Animates on a GPU that is not there, at full size, and prints what it would have done as JSON.

python gpu.py PACK sample DTYPE | cards DTYPE | small DTYPE | solvers | decode DTYPE, by an interpreter
with a CUDA build of torch.

One line, a list: for each run its name, the kernels, the bytes that they read and write, the most bytes
alive beside the weights, the bytes that the estimate allowed, and where the host waited between two steps.
"""

import json
import sys
from pathlib import Path

import torch
from PIL import Image

PACK, WHAT = Path(sys.argv[1]), sys.argv[2:]
sys.path.append(str(PACK / "tests"))
sys.path.extend(map(str, (PACK / ".venv").glob("lib/python*/site-packages")))  # has diffusers

from support.by_path import load_pack  # noqa: E402
from support.rehearsal import Ledger, full_size_checkpoint, rehearsed  # noqa: E402

load_pack(PACK)

from stillmotion.headless import Pipeline, Settings  # noqa: E402
from stillmotion.samplers.solvers import CHURNING, SOLVERS  # noqa: E402
from stillmotion.svd_model import layerwise  # noqa: E402
from stillmotion.svd_model.checkpoint import Checkpoint  # noqa: E402
from stillmotion.svd_model.networks.vae import ImageEncoder, VideoDecoder  # noqa: E402

ROOM, LITTLE_ROOM = 80 * 2**30, 2 * 10**9
LOOP = "solvers.py:"
MULTISTEP = ("dpmpp_2m", "dpmpp_2m_sde")


def report(name: str, ledger: Ledger, allowed: int) -> dict:
    return {
        "name": name,
        "kernels": ledger.kernels,
        "traffic": ledger.traffic,
        "peak": ledger.peak,
        "allowed": int(allowed),
        "waits": [" ".join(stack[-9:-3]) for stack in ledger.waits if any(LOOP in call for call in stack)],
    }


def sampled(checkpoint: Checkpoint, dtype: str, runs: dict[str, dict], frames: int = 25) -> list[dict]:
    """What sampling took, for the settings of each run by its name; `free`: bytes beside the UNet."""
    reports = []
    with rehearsed(ROOM) as ledger:
        pipeline = Pipeline(checkpoint, device="cuda", dtype=dtype)
        conditions = None
        for name, options in runs.items():
            room = options.pop("free", ROOM)
            settings = Settings(num_frames=frames, **options).complete(checkpoint.variant)
            if conditions is None:
                picture = pipeline.prepare(Image.new("RGB", (1024, 576)), settings)
                conditions = pipeline.encode(picture, settings)
                pipeline.denoiser(conditions, settings)  # loads the UNet
            size = (frames, settings.height // 8, settings.width // 8)
            for _ in range(2):  # at first other networks leave, and the UNet comes back if it has streamed
                held = pipeline._networks.held("unet")
                ledger.free = room - held.others
                choice = pipeline.fit.to_sample(size, 2, settings.feature_cache > 1, held)
                with pipeline._networks.use("unet", choice):
                    pass
            ledger.restart()
            assert pipeline.sample(conditions, settings).device.type == "cpu"
            options = {
                "cached": settings.feature_cache > 1,
                "casts": pipeline.dtype != torch.float16,
            }  # the file's dtype
            planner = layerwise.UNetPlanner(
                checkpoint.unet.params, 2, *size, pipeline.dtype, pipeline.device, **options
            )
            plan = planner.within(choice.activations)
            chosen = {"branches": plan.branches, "workspace": plan.pieces.workspace}
            latents = 8 * frames * 4 * size[1] * size[2] * 4  # of the run: condition, solver and estimates
            reports.append(report(name, ledger, plan.peak + latents) | chosen)
    return reports


def evaluated(checkpoint: Checkpoint, dtype: torch.dtype, frames: int, height: int, width: int) -> dict:
    """A pass of the UNet over latents of that size, however small."""
    with rehearsed(ROOM) as ledger:
        unet = checkpoint.unet.load(dtype=dtype, device="cuda")
        x, context, vector, steps = (
            torch.empty(shape, dtype=dtype, device="cuda")
            for shape in ((frames, 8, height, width), (frames, 1, 1024), (frames, 768), (frames,))
        )
        constants = unet.prepare(context, vector, frames)
        shifts = unet.shifts(steps, constants)
        ledger.restart()
        unet.predict(x, shifts, constants)
        planner = layerwise.UNetPlanner(
            checkpoint.unet.params,
            1,
            frames,
            height,
            width,
            dtype,
            torch.device("cuda"),
            casts=dtype != torch.float16,
        )
        allowed = planner.within(None).peak
        return report(f"{dtype}, {frames}×{height}×{width}", ledger, allowed)


def decoded(checkpoint: Checkpoint, dtype: torch.dtype, share: float, frame_wise: bool) -> dict:
    """Frames of full size under a budget between the smallest that works (0) and that of everything (1)."""
    frames, height, width = 2, 72, 128
    network = checkpoint.frame_wise_decoder if frame_wise else checkpoint.decoder
    size = (network.params, frames, height, width)
    options = {"temporal": not frame_wise, "dtype": dtype, "device": "cuda"}
    planner = layerwise.DecodePlanner(*size, **options)
    least = planner.smallest().peak
    budget = least + int(share * (planner.within(None).peak - least))
    with rehearsed(ROOM) as ledger:
        decoder = network.load(dtype=torch.float32, device="cuda")
        z = torch.empty(frames, 4, height, width, dtype=dtype, device="cuda")
        ledger.restart()
        for frame in layerwise.decode_frames(decoder, z, budget=budget):
            assert frame.device.type == "cuda"
        kind = "frame by frame" if frame_wise else "temporal"
        return report(f"{kind}, {str(dtype)[6:]}, budget {share:g}", ledger, budget)


def decoded_clip(checkpoint: Checkpoint, dtype: torch.dtype, budget: int | None, frames: int = 25) -> dict:
    """A clip of full size within a budget; None: on a card that has room for all of it."""
    network = checkpoint.decoder
    planner = layerwise.DecodePlanner(
        network.params, frames, 72, 128, temporal=True, dtype=dtype, device="cuda"
    )
    with rehearsed(ROOM) as ledger:
        decoder = network.load(dtype=dtype, device="cuda")
        z = torch.empty(frames, 4, 72, 128, dtype=dtype, device="cuda")
        ledger.restart()
        for _ in layerwise.decode_frames(decoder, z, budget=budget):
            pass
        return report(f"clip, budget {budget}", ledger, planner.within(budget).peak)


def decoded_by_diffusers(checkpoint: Checkpoint, dtype: torch.dtype, frames: int = 25) -> dict:
    """A clip by diffusers' temporal decoder, all frames at once."""
    from support import diffusers_models

    with rehearsed(ROOM) as ledger:
        factory = {"dtype": dtype, "device": "cuda"}
        encoder = ImageEncoder(checkpoint.encoder.params, quant_conv=True, **factory)
        decoder = VideoDecoder(checkpoint.decoder.params, temporal=True, post_quant_conv=False, **factory)
        vae = diffusers_models.vae(encoder, decoder)
        z = torch.empty(frames, 4, 72, 128, dtype=dtype, device="cuda")
        ledger.restart()
        vae.decode(z, num_frames=frames)
        return report("diffusers", ledger, ROOM)


@torch.no_grad()
def main() -> None:
    """The command line."""
    with full_size_checkpoint() as checkpoint:
        if WHAT[0] == "sample":
            dtype = WHAT[1]
            steps = {
                f"{dtype}, both branches together": {"steps": 2},
                f"{dtype}, one after the other": {"steps": 2, "free": LITTLE_ROOM},
                f"{dtype}, features cached": {"steps": 3, "feature_cache": 2},
            }
            runs = sampled(checkpoint, dtype, steps)
        elif WHAT[0] == "cards":
            free = {size: size * 10**9 - checkpoint.unet.size for size in (6, 8, 10, 12, 16, 24)}
            cards = {f"{size} GB": {"steps": 1, "free": free[size]} for size in free}
            runs = sampled(checkpoint, WHAT[1], {"no bound": {"steps": 1}, **cards})
        elif WHAT[0] == "small":
            sizes = ((1, 8, 8), (1, 72, 128), (25, 16, 16))
            runs = [evaluated(checkpoint, getattr(torch, WHAT[1]), *size) for size in sizes]
        elif WHAT[0] == "solvers":
            solvers = {name: {"steps": 2, "sampler": name} for name in SOLVERS}
            for name in CHURNING:
                solvers[name]["churn"] = 1.0
            for name in MULTISTEP:  # of second order from the third step on
                solvers[name]["steps"] = 3
            runs = sampled(checkpoint, "float16", solvers, frames=2)
        else:
            dtype, kinds = getattr(torch, WHAT[1]), ((0, False), (1, False), (0, True))
            runs = [decoded(checkpoint, dtype, share, frame_wise) for share, frame_wise in kinds]
            runs += [decoded_clip(checkpoint, dtype, budget) for budget in (None, 8 * 10**9, 4 * 10**9)]
            runs.append(decoded_by_diffusers(checkpoint, dtype))
    sys.stdout.write(json.dumps(runs) + "\n")


main()
