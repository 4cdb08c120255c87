"""Long clips in a real ComfyUI: chains and windows are the command's, and core's Context Windows run."""

import json

import pytest

from support import checkpoints, in_host, tiny

SCRIPT = """
sys.path.insert(0, root + "/tests")
from support.exact import exact
comfy.cli_args.args.fp32_text_enc = True  # or the host rounds the image tower's weights to float16
import comfy.utils
import folder_paths
import numpy as np
from dataclasses import replace
from pathlib import Path
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from support.rounding import FLOOR, TIMES
from pack.clips.plan import Plan
from pack.clips.recipes import Encode, drive
from pack.clips.recipes.animate import animate
from pack.clips.run import Windows
from pack.clips.settings import Settings
from pack.headless import Pipeline
from pack.headless.engine import local
from pack.nodes import conditioning, loaders, long, sampling
from pack.nodes.host.performer import Performer
from pack.nodes.host.unet import HostUNet
from pack.samplers import windows
from pack.svd_model.checkpoint import Checkpoint
from pack.svd_model.networks.vae import LATENT_SCALE

SEED, CHUNK, STEPS, OVERLAP, SIZE = 2**64 - 1, 4, 3, 2, {"width": 128, "height": 64}
HOSTS = 7 * 2**-24 * 700 * 4  # see test_two_doors
checkpoint = Checkpoint.open(Path(folder) / "svd.safetensors")
folder_paths.add_model_folder_path("checkpoints", folder)
y, x = np.mgrid[0:64, 0:128]
PIXELS = np.stack([x, y, 255 * ((x // 16 + y // 16) % 2)], axis=-1).astype(np.uint8)
IMAGE = torch.from_numpy(PIXELS.astype(np.float32) / 255)[None]
USUAL = {"sampler": "euler", "shape": "linear", "min_guidance": 1.0, "max_guidance": 2.5, "scales": "",
         "schedule": "karras", "steps": STEPS, "sigma_max": 700.0, "sigma_min": 0.002, "rho": 7.0}

Exact = exact(Pipeline)

PIPELINES = Pipeline(checkpoint, device="cpu"), Exact(checkpoint)

def error_of(plain, exact, found):
    # The largest error of a result, in errors that are allowed.
    allowed = TIMES * (plain - exact).abs().max() + FLOOR * exact.abs().max() + HOSTS
    return ((found * LATENT_SCALE - exact).abs().max() / allowed).item()

def command(frames, long, **changes):
    # The command's latents, in float32 and in float64.
    settings = {"num_frames": frames, "long": long, "chunk": CHUNK, "overlap": OVERLAP, "steps": STEPS,
                "seed": SEED, "min_guidance": 1.0, "max_guidance": 2.5, "noise_aug": 0.02, **SIZE, **changes}
    found = []
    for pipeline in PIPELINES:
        plan = Plan.of(Settings(**settings), checkpoint.variant)
        recipe = animate(plan, plan.canvas(IMAGE[0].movedim(-1, 0)))
        step = next(recipe)
        while not hasattr(step, "frame_wise"):  # the step that decodes
            step = recipe.send(pipeline.perform(step))
        found.append(step.latents)
    return found

model, tower, vae = loaders.LoadCheckpoint.execute(checkpoint="svd.safetensors").result

def prepared(frames=CHUNK, image=IMAGE):
    positive, negative, latent, _ = conditioning.ImageToVideo.execute(
        clip_vision=tower, vae=vae, image=image, fit="crop", frames=frames, fps=6.0, motion_bucket_id=127,
        noise_aug=0.02, seed=SEED, **SIZE).result
    return {"positive": positive, "negative": negative, "latent": latent}

USED = {"model": model, "seed": SEED, "overlap": OVERLAP, "match": 1.0, **prepared(), **USUAL}

def long_video(frames, long_, **changes):
    return long.LongVideo.execute(frames=frames, long=long_, **{**USED, **changes}).result[0]

def short(**changes):
    values = {**USED, "denoise": 1.0, **changes}
    del values["overlap"], values["match"]
    return sampling.KSampler.execute(**values).result[0]

def extend(latent, **changes):
    return long.Extend.execute(**{**USED, "latent": latent, **changes}).result[0]
"""

MEASURES = """
errors = {}
for way in ("chain", "windows", "freenoise"):
    expected = command(9, way, **({"match": 0.5} if way == "chain" else {}))
    for name in ("euler", "stillmotion euler"):
        errors[f"{way}, {name}"] = error_of(*expected, long_video(9, way, match=0.5, sampler=name)["samples"])
    assert long_video(9, way)["stillmotion_num_frames"] == 9
expected = command(9, "chain", sampler="euler_ancestral")
errors["chain, noise on the way"] = error_of(
    *expected, long_video(9, "chain", sampler="stillmotion euler_ancestral")["samples"])

# SVD Animate's recipe, performed in the host.
settings = Settings(
    num_frames=9, long="chain", chunk=CHUNK, overlap=OVERLAP, steps=STEPS, seed=SEED, **SIZE)
plan = Plan.of(settings, checkpoint.variant)
performer = Performer(checkpoint, False)
step = next(recipe := animate(plan, plan.canvas(IMAGE[0].movedim(-1, 0))))
while not hasattr(step, "frame_wise"):
    step = recipe.send(performer.perform(step))
errors["performed"] = error_of(*command(9, "chain", **{
    name: getattr(plan.settings, name) for name in ("min_guidance", "max_guidance")}),
    step.latents / LATENT_SCALE)

one_by_one = [short()]
for _ in range(3):
    one_by_one.append(extend(one_by_one[-1]))
closed = extend({**one_by_one[0], "stillmotion_closing_frame": True})  # 3 + 4 − 2 frames
same = {
    "as many frames as a chunk": torch.equal(long_video(CHUNK, "chain")["samples"], one_by_one[0]["samples"]),
    "one after another": torch.equal(long_video(10, "chain")["samples"], one_by_one[-1]["samples"]),
    "cut": torch.equal(long_video(9, "chain")["samples"], one_by_one[-1]["samples"][:9]),
    "begins with the shorter one": torch.equal(long_video(6, "chain")["samples"][:-OVERLAP],
                                               long_video(9, "chain")["samples"][:6 - OVERLAP]),
    "a loop's closing frame": torch.equal(closed["samples"][:1], one_by_one[0]["samples"][:1]) and (
        len(closed["samples"]), "stillmotion_closing_frame" in closed) == (5, False),
    "another seed": torch.equal(long_video(9, "chain", seed=1)["samples"], long_video(9, "chain")["samples"]),
    "another overlap": torch.equal(extend(one_by_one[0], overlap=3)["samples"][:4],
                                   one_by_one[1]["samples"][:4]),
}

# How many frames the UNet sees at once, and the steps that progress counts.
seen, steps = [], []
forward = HostUNet._forward
HostUNet._forward = lambda network, x, *more, **rest: seen.append(len(x)) or forward(
    network, x, *more, **rest)
comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **_: steps.append((value, total)))
most = {}
for way in ("chain", "windows", "freenoise"):
    for frames in (6, 12):
        seen.clear()
        steps.clear()
        long_video(frames, way)
        most[f"{way} {frames}"] = max(seen)
        runs = 1 if way != "chain" else {6: 2, 12: 5}[frames]
        # The host leaves out some that follow each other quickly.
        whole = (runs * STEPS, runs * STEPS)
        same[f"steps, {way} {frames}"] = (
            steps == sorted(steps) and steps[-1] == whole and {total for _, total in steps} == {whole[1]})
HostUNet._forward = forward
comfy.utils.set_progress_bar_global_hook(None)

# Each sampler of the host's, and ours.
finite = {
    name: extend(one_by_one[0], sampler=name)["samples"].isfinite().all().item()
    for name in ("euler", "heun", "dpmpp_2m", "lcm", "uni_pc", "stillmotion heun", "stillmotion dpmpp_2m")
}

# Core's Context Windows, as the engine fuses the windows of a run with noise of its own.
settings = Settings(num_frames=9, long="whole", steps=STEPS, seed=SEED, guidance=2.0, noise_aug=0.02, **SIZE)
found = []
for pipeline in PIPELINES:
    plan = Plan.of(settings, checkpoint.variant)
    step = next(recipe := animate(plan, plan.canvas(IMAGE[0].movedim(-1, 0))))
    way = Windows(tuple(map(tuple, windows.sliding(9, CHUNK, OVERLAP))), windows.triangle(CHUNK))
    run = replace(recipe.send(pipeline.perform(step)).run, way=way)
    found.append(pipeline.sample_run(run))
CORES = {"context_length": CHUNK, "context_overlap": OVERLAP, "context_schedule": "standard_static",
         "context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "dim": 0, "freenoise": False}

def in_cores_windows(**changes):
    windowed = ContextWindowsManualNode.execute(model=model, **{**CORES, **changes}).result[0]
    return short(model=windowed, **prepared(9), shape="constant", max_guidance=2.0)["samples"]

errors["core's windows"] = error_of(*found, in_cores_windows(causal_window_fix=False))
# Its fix puts a frame in front of each window but the first.
fixed = in_cores_windows(causal_window_fix=True)
for name, changes in {"freenoise": {"freenoise": True}, "batched": {"context_schedule": "batched"},
                      "looped": {"context_schedule": "looped_uniform", "closed_loop": True}}.items():
    finite[name] = in_cores_windows(**changes).isfinite().all().item()
same["core's fix is another clip"] = torch.equal(fixed, in_cores_windows(causal_window_fix=False))
finite["core's fix"] = fixed.isfinite().all().item()

def refused(**latent):
    try:
        extend(latent, overlap=3)
    except ValueError as error:
        return str(error)

few, none = torch.ones(2, 4, 8, 16), torch.full((4, 4, 8, 16), torch.nan)
refused = [refused(samples=few), refused(samples=none)]

print(json.dumps({"refused": refused, "errors": errors, "same": same, "most": most, "finite": finite}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long_clips")
    checkpoints.write(folder / "svd.safetensors", "svd", sizes=tiny.SMALL)
    return folder


def run(folder, script: str):
    return in_host.result_of(f"folder = {json.dumps(str(folder))}\n" + SCRIPT + script)


@pytest.fixture(scope="module")
def measured(folder):
    return run(folder, MEASURES)


def test_each_clip_is_the_commands(measured):
    assert {name: error for name, error in measured["errors"].items() if error > 1} == {}
    assert len(measured["errors"]) == 9


ANOTHER = {"another seed", "another overlap", "core's fix is another clip"}


def test_a_chain_is_one_chunk_after_another_and_a_longer_one_begins_as_the_shorter(measured):
    """And progress counts the steps of all chunks."""
    assert {name for name, same in measured["same"].items() if not same} == ANOTHER


def test_the_unet_never_sees_more_than_a_chunk(measured):
    """Both branches in one batch."""
    assert set(measured["most"].values()) == {2 * 4}


def test_every_sampler_and_all_of_cores_windows_give_numbers(measured):
    assert all(measured["finite"].values()) and len(measured["finite"]) == 7 + 4


def test_a_clip_of_fewer_frames_than_the_overlap_and_one_of_no_numbers_are_refused(measured):
    few, none = measured["refused"]
    assert few == "overlap is 3, but the latent has 2 frames; it must be 1 to 2."
    assert "in the latent to extend; look at the node that made it" in none
