"""Clips between two pictures, and loops: the latents that the nodes sample are the command's, from one seed.

The bound is support.rounding's: four times the command's own error as float64 networks show it, plus the
host's roundings at the first noise, as in test_two_doors. The host takes the estimates from x and back again
in each of an evaluation's branches.
"""

import json

import pytest

from support import checkpoints, in_host, tiny

SCRIPT = """
sys.path.insert(0, root + "/tests")
from support.exact import exact
comfy.cli_args.args.fp32_text_enc = True  # or the host rounds the image tower's weights to float16
torch.set_grad_enabled(False)  # as the host does around a node
import folder_paths
import numpy as np
from pathlib import Path
import comfy.samplers
import comfy_extras.nodes_custom_sampler as core
from support.cores_model import core_model
from support.rounding import FLOOR, TIMES
from pack.clips.plan import Plan
from pack.clips.presets import USUAL_FPS
from pack.clips.recipes import Decode, drive
from pack.clips.recipes.inbetween import inbetween, loop
from pack.clips.run import BETWEEN
from pack.clips.settings import Settings
from pack.headless import Pipeline
from pack.nodes import between, conditioning, host, latents, loaders, output, sampling
from pack.nodes.host.performer import Performer
from pack.svd_model.checkpoint import Checkpoint
from pack.svd_model.networks.vae import LATENT_SCALE

SEED, FRAMES, STEPS, SIZE = 2**64 - 1, 3, 3, {"width": 64, "height": 64}
RETURNS = 26  # the fewest steps in which time-reversal fusion returns
HOSTS = 7 * 2**-24 * 700 * 4
checkpoint = Checkpoint.open(Path(path))
folder_paths.add_model_folder_path("checkpoints", str(Path(path).parent))
model, tower, vae = loaders.LoadCheckpoint.execute(checkpoint=Path(path).name).result

Exact = exact(Pipeline)

PIPELINES = (Pipeline(checkpoint, device="cpu"), Exact(checkpoint))

y, x = np.mgrid[0:150, 0:250]
ONE = np.stack([x, y, 255 * ((x // 16 + y // 16) % 2)], axis=-1).astype(np.uint8)
TWO = np.ascontiguousarray(ONE[::-1, :, ::-1])
TALL = np.ascontiguousarray(TWO.transpose(1, 0, 2))

def image_of(*pictures):
    return torch.stack([torch.from_numpy(each.astype(np.float32) / 255) for each in pictures])

LINEAR = {"guidance": "linear", "min_guidance": 1.0, "max_guidance": 3.0}
CONSTANT = LINEAR | {"guidance": "constant"}

def performed(door, first, last=None, **options):
    # The latents that a door's performer makes of a recipe, to the end picture or round a loop.
    settings = {"num_frames": FRAMES, "steps": STEPS, "seed": SEED, "schedule": "karras", **SIZE, **options}
    plan = Plan.of(Settings(**settings), checkpoint.variant, end_frame=last is not None)
    first, last = (None if p is None else plan.canvas(image_of(p)[0].movedim(-1, 0)) for p in (first, last))
    recipe = loop(plan, first) if last is None else inbetween(plan, {0: first, FRAMES - 1: last})
    def perform(step):
        return step.latents if isinstance(step, Decode) else door.perform(step)
    return drive([recipe], perform)[0]

def command(*pictures, **options):
    # The command's latents in float32 and in float64.
    return [performed(pipeline, *pictures, **options) for pipeline in PIPELINES]

def error(found, expected):
    plain, exact = expected
    allowed = TIMES * (plain - exact).abs().max() + FLOOR * exact.abs().max() + HOSTS
    return ((found - exact).abs().max() / allowed).item()

def conditions(start, end=None, loop="none", seed=SEED, **changes):
    return between.FirstLastFrame.execute(
        clip_vision=tower, vae=vae, start=start, end=end, fit="crop", fps=USUAL_FPS,
        motion_bucket_id=127, noise_aug=0.02, seed=seed, loop=loop,
        **{"frames": FRAMES, **SIZE, **changes}).result

def sampled(conditions, method="mpd", sampler="stillmotion euler", seed=SEED, model=model, shape="linear",
            steps=STEPS):
    positive, negative, latent = conditions
    result = sampling.KSampler.execute(
        model=model, positive=positive, negative=negative, latent=latent, seed=seed, sampler=sampler,
        shape=shape, min_guidance=1.0, max_guidance=3.0, scales="", schedule="karras", steps=steps,
        sigma_max=700.0, sigma_min=0.002, rho=7.0, denoise=1.0, between=method).result[0]
    return result["samples"] * LATENT_SCALE

def apart(conditions, method, scale=False, sampler=None, seed=SEED):
    # The same with core's nodes for the parts.
    positive, negative, latent = conditions
    guided = sampling.guided_model(model, "linear", 1.0, 3.0) if scale else model
    guider = between.BetweenGuider.execute(model=guided, positive=positive, negative=negative).result[0]
    sampler = sampler or between.BetweenSampler.execute(between=method).result[0]
    noise = core.Noise_RandomNoise(seed)
    sigmas = sampling.make_sigmas("karras", STEPS, sigma_max=700.0, sigma_min=0.002, rho=7.0)
    previewed[method] = shown = []
    kept = core.latent_preview.prepare_callback
    core.latent_preview.prepare_callback = lambda *_: lambda step, x0, x, total: shown.append((x0, x, total))
    try:
        return core.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)[0]
    finally:
        core.latent_preview.prepare_callback = kept

previewed = {}
"""

DOORS = """
performer = Performer(checkpoint, False)
errors, order, pair = {}, {}, conditions(image_of(ONE), image_of(TALL))
for method in BETWEEN:
    chosen = {"between": method} | (LINEAR if method == "trf" else {})
    expected = command(ONE, TALL, **chosen)
    errors[method] = error(sampled(pair, method), expected)
    found = apart(pair, method, method == "trf")["samples"] * LATENT_SCALE
    x0, x, total = previewed[method][-1]
    order[method] = [len(previewed[method]), total, *((x0[0] - end).norm() for end in found[[0, -1]])]
    order[method] = [float(number) for number in order[method]]
    errors[f"{method}, apart"] = error(found, expected)
    errors[f"{method}, performed"] = error(performed(performer, ONE, TALL, **chosen), expected)
    if method == "mpd":
        errors["another end"] = 1 / error(sampled(conditions(image_of(ONE), image_of(TWO))), expected)
        cached = sampled(pair, model=host.with_feature_cache(model, 2))
        errors["mpd, feature cache is another"] = 1 / error(cached, expected)
        errors["mpd, feature cache"] = error(cached, command(ONE, TALL, feature_cache=2))
        cores = core_model(checkpoint)
        errors["mpd, core's model"] = error(sampled(pair, model=cores), expected)

for solver in ("heun", "dpmpp_2m", "euler_ancestral"):
    expected = command(ONE, TALL, between="trf", sampler=solver, **LINEAR)
    errors[f"trf, {solver}"] = error(sampled(pair, "trf", f"stillmotion {solver}"), expected)
    if solver == "heun":
        found = apart(pair, "trf", True, comfy.samplers.sampler_object(solver))["samples"] * LATENT_SCALE
        errors["trf, core's heun"] = error(found, expected)
expected = command(ONE, TALL, between="trf", steps=RETURNS, **LINEAR)
errors["trf, returning"] = error(sampled(pair, "trf", steps=RETURNS), expected)

THIRD = np.roll(TWO, 70, axis=1)
several = conditions(image_of(TWO, ONE), image_of(ONE, THIRD), seed=SEED - 1)
one_end = conditions(image_of(TWO, ONE), image_of(THIRD), seed=SEED - 1)
for method, more in (("mpd", {}), ("trf", LINEAR)):
    expected = command(ONE, THIRD, between=method, **more)
    for name, pictures in (("two ends", several), ("one end", one_end)):
        found = sampled(pictures, method, seed=SEED - 1)[FRAMES:]
        errors[f"{method}, second of two, {name}"] = error(found, expected)

expected, pinned = command(ONE, loop="pinned"), conditions(image_of(ONE), loop="pinned")
whole, found = apart(pinned, "mpd"), sampled(pinned)
kept = [len(found), len(whole["samples"])]
kept += [len(output.decode_latent(vae, whole, ring=ring)) for ring in (False, True)]
errors["pinned, apart"] = error(whole["samples"][:FRAMES] * LATENT_SCALE, expected)
errors["pinned"] = error(found, expected)
two = conditions(image_of(TWO, ONE), loop="pinned", seed=SEED - 1)
errors["pinned, second of two"] = error(sampled(two, seed=SEED - 1)[FRAMES:], expected)

closed = latents.without_closing_frame({
    "samples": torch.arange(8)[:, None, None, None], host.CLOSING_FRAME: True, host.NUM_FRAMES: 4,
    "batch_index": [8, 9, 10, 11, 0, 1, 2, 3], "noise_mask": torch.arange(8)[:, None, None]})
kept += [closed[host.NUM_FRAMES], closed["batch_index"], *(
    closed[name].flatten().tolist() for name in ("samples", "noise_mask"))]

ring = conditions(image_of(ONE), loop="shift")
two = conditions(image_of(TWO, ONE), loop="shift", seed=SEED - 1)
for solver in ("dpmpp_2m", "heun"):
    chosen = {"loop": "shift", "sampler": solver, **CONSTANT}
    expected = command(ONE, **chosen)
    found = sampled(ring, sampler=f"stillmotion {solver}", shape="constant")
    errors[f"shift, {solver}"] = error(found, expected)
errors["shift, performed"] = error(performed(performer, ONE, **chosen), expected)
found = sampled(two, sampler=f"stillmotion {solver}", shape="constant", seed=SEED - 1)[FRAMES:]
errors["shift, second of two"] = error(found, expected)
print(json.dumps({"errors": errors, "kept": kept, "order": order}))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first_last")
    return checkpoints.write(folder / "tiny_between.safetensors", sizes=tiny.SMALL)


def result_of(path, script: str):
    return in_host.result_of(f"path = {json.dumps(str(path))}\n" + SCRIPT + script)


@pytest.fixture(scope="module")
def measured(path):
    return result_of(path, DOORS)


def test_each_clip_is_the_commands(measured):
    """All ways, solvers, batches, core's nodes for the parts, a feature cache, and both kinds of loops."""
    assert {name: error for name, error in measured["errors"].items() if error > 1} == {}


def test_the_frame_that_closes_a_pinned_loop_is_dropped_by_our_sampler_or_by_the_decoder(measured):
    sampled, whole, *decoded = measured["kept"][:4]
    assert (sampled, whole, *decoded) == (3, 4, 3, 3)
    three_of_each = [0, 1, 2, 4, 5, 6]
    assert measured["kept"][4:] == [3, [6, 7, 8, 0, 1, 2], three_of_each, three_of_each]


@pytest.mark.parametrize("method", ["mpd", "vibid", "mpd_trf", "trf"])
def test_each_step_is_previewed_once_forward_in_time(measured, method):
    called, steps, from_start, from_end = measured["order"][method]
    assert called == steps == 3
    if method in ("mpd", "vibid"):  # their last pass has the start put in
        assert from_start < from_end / 4


MISTAKES = """
def said(make):
    try:
        make()
    except ValueError as error:
        return str(error)

class Noise:
    seed = 1
    def generate_noise(self, latent):
        return torch.zeros_like(latent["samples"])

def at_core(conditions, guider=None, sampler=None, latent=None):
    positive, negative, empty = conditions
    guider = guider or core.CFGGuider.execute(model, positive, negative, 2.0)[0]
    sampler = sampler or comfy.samplers.sampler_object("euler")
    sigmas = torch.tensor([7.0, 1.0, 0.0])
    return core.SamplerCustomAdvanced.execute(Noise(), guider, sampler, sigmas, latent or empty)

def guided(conditions, model=model):
    return between.BetweenGuider.execute(model=model, positive=conditions[0], negative=conditions[1])[0]

def with_option(conditions, **options):
    positive, *others = conditions
    return ([[context, {**own, **options}] for context, own in positive], *others)

one, tall = image_of(ONE), image_of(TALL)
pair, ring = conditions(one, tall), conditions(one, loop="shift")
plain = conditioning.ImageToVideo.execute(
    clip_vision=tower, vae=vae, image=one, fit="crop", frames=FRAMES, fps=6.0, motion_bucket_id=127,
    noise_aug=0.02, seed=1, **SIZE).result[:3]
own = {name: between.BetweenSampler.execute(between=name)[0] for name in BETWEEN}
scaled = sampling.guided_model(model, "linear", 1.0, 3.0)
masked = {**pair[2], "noise_mask": torch.ones(1, 64, 64)}
longer = {**pair[2], "samples": torch.zeros(FRAMES + 1, 4, 8, 8)}
doubled = [*pair[0], *conditions(one, image_of(TWO))[0]]
print(json.dumps({
    "neither end nor loop": said(lambda: conditions(one)),
    "an end and a loop": said(lambda: conditions(one, tall, "pinned")),
    "two ends for one start": said(lambda: conditions(one, image_of(ONE, TWO))),
    "two frames": said(lambda: conditions(one, tall, frames=2)),
    "a loop of one frame": said(lambda: conditions(one, loop="pinned", frames=1)),
    "no end picture": said(lambda: conditions(one, torch.zeros(0, 8, 8, 3))),
    "a mask as end": said(lambda: conditions(one, torch.zeros(1, 8, 8))),
    "a million frames": said(lambda: conditions(one, tall, frames=10**6)),
    "core's guider": said(lambda: at_core(pair)),
    "core's guider, shift": said(lambda: at_core(ring)),
    "core's guider, our sampler": said(lambda: at_core(plain, sampler=own["mpd"])),
    "our sampler without an end": said(lambda: at_core(ring, guided(ring), own["vibid"])),
    "guidance before mpd": said(lambda: at_core(pair, guided(pair, scaled), own["mpd"])),
    "a mask": said(lambda: at_core(pair, guided(pair), own["mpd"], masked)),
    "a latent of other frames": said(lambda: at_core(pair, guided(pair), latent=longer)),
    "a latent of other frames, ours": said(lambda: sampled((*pair[:2], {"samples": longer["samples"]}))),
    "a plain conditioning": said(lambda: guided(plain)),
    "two ends combined": said(lambda: guided((doubled, *pair[1:]))),
    "a ControlNet": said(lambda: sampled(with_option(pair, control=object()))),
    "a feature cache round a loop": said(
        lambda: sampled(ring, sampler="stillmotion euler", model=host.with_feature_cache(model, 2))),
    "masks go with trf": said(lambda: at_core(pair, guided(pair, scaled), own["trf"], masked)),
}))
"""
SAID = {
    "neither end nor loop": "no picture is connected as end, and loop is none; connect the picture that",
    "an end and a loop": "loop is pinned, and end has a picture; a loop ends where it begins: disconnect end",
    "two ends for one start": "end holds 2 pictures, start 1; give one end for all, or one for each.",
    "two frames": "frames is 2; a clip between two pictures, both of them included, has at least 3.",
    "a loop of one frame": "frames is 1; a loop has at least 2.",
    "no end picture": "the batch of images is empty; connect at least one picture.",
    "a mask as end": "the image is 1×8×8 of float32; an IMAGE is pictures",
    "a million frames": "frames is 1000000; it must be a whole number from 1 to 1024.",
    "core's guider": "positive has an end picture or a loop, which this sampler node would ignore; sample",
    "core's guider, shift": "positive has an end picture or a loop, which this sampler node would ignore",
    "core's guider, our sampler": "mpd goes between two pictures, and this guider (CFGGuider) has no end",
    "our sampler without an end": "vibid goes between two pictures, and this guider (WayGuider) has no end",
    "guidance before mpd": "this model has a guidance node before it, and mpd, mpd_trf and vibid guide by",
    "a mask": "the latent has a mask, which mpd can't keep to; take the mask out, or choose trf.",
    "a latent of other frames": "the conditioning is for videos of 3 frames, the latents are 4, no whole",
    "a latent of other frames, ours": "the conditioning is for videos of 3 frames, the latents are 4",
    "a plain conditioning": "positive has no end picture and no loop; connect positive of SVD First and Last",
    "two ends combined": "positive is combined of conditionings that end on different pictures; connect",
    "a ControlNet": "positive has a ControlNet, which sees the clip forward in time alone, and an end",
    "a feature cache round a loop": "this model caches its features, and the loop has other frames at a",
    "masks go with trf": None,
}
"""What begins the sentence on each mistake."""


@pytest.fixture(scope="module")
def mistakes(path):
    return result_of(path, MISTAKES)


@pytest.mark.parametrize("mistake", SAID)
def test_a_mistake_is_told_in_a_sentence(mistakes, mistake):
    found, expected = mistakes[mistake], SAID[mistake]
    assert found == expected if expected is None else (found or "").startswith(expected)
