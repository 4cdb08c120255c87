"""One clip behind both doors: the command's latents, SVD Animate's and the long graph's, in a real ComfyUI.

The doors compute with networks of their own kinds, with the host's attention and CLIP, so they agree up to
rounding. The bound is support.rounding's, four times the command's own error as float64 networks show it,
plus the host's own roundings: for guidance of a node it takes both estimates from x, mixes them with a scale
of at most 3, and takes the mix from x. That is (3 + 2 + 1 + 1) half units of the last place of x, at the
start.
"""

import json

import pytest

from support import checkpoints, in_host, tiny

KINDS = ("svd", "sv3d_u", "sv3d_p", "motionctrl_svd")

SCRIPT = """
sys.path.insert(0, root + "/tests")
from support.exact import exact
comfy.cli_args.args.fp32_text_enc = True  # or the host rounds the image tower's weights to float16
import folder_paths
import numpy as np
from pathlib import Path
from types import SimpleNamespace
from support.rounding import FLOOR, TIMES
from pack import builtin_model
from pack.headless import Pipeline
from pack.clips.camera import named_track
from pack.clips.plan import Plan
from pack.clips.recipes.animate import animate as recipes_animate
from pack.clips.settings import Settings
from pack.nodes.host.performer import Performer
from pack.nodes import conditioning, latents, loaders, output, sampling
from pack.nodes.host.vae import VideoVAE
from pack.clips import noise, picture
from pack.clips.canvas import FITS
from pack.clips.presets import find_preset
from pack.samplers.solvers import CHURNING, SOLVERS
from pack.svd_model.checkpoint import Checkpoint
from pack.svd_model.networks.vae import LATENT_SCALE

SEED, FRAMES, STEPS, SIZE = 2**64 - 1, 3, 3, {"width": 128, "height": 64}
HOSTS = 7 * 2**-24 * 700 * 4  # of four standard deviations of the first noise, which few numbers pass
FILES = {kind: Path(folder) / f"{kind}.safetensors" for kind in kinds}
FILES["shipped"] = builtin_model.PATH
CHECKPOINTS = {kind: Checkpoint.open(path) for kind, path in FILES.items()}
PIPELINES = {kind: Pipeline(checkpoint, device="cpu") for kind, checkpoint in CHECKPOINTS.items()}

Exact = exact(Pipeline)

EXACT = {kind: Exact(checkpoint) for kind, checkpoint in CHECKPOINTS.items()}
NAMES = {kind: f"{kind}.safetensors" for kind in kinds} | {"shipped": builtin_model.NAME}
folder_paths.add_model_folder_path("checkpoints", folder)

y, x = np.mgrid[0:150, 0:250]
RGB = np.stack([x, y, 255 * ((x // 16 + y // 16) % 2)], axis=-1).astype(np.uint8)
OBJECT = np.dstack([RGB, 255 * ((x - 60) ** 2 + (y - 50) ** 2 < 40 ** 2)]).astype(np.uint8)
OBJECT[..., 3][x > 60] //= 2  # half of it is half transparent
OPAQUE = np.dstack([RGB, np.full_like(x, 255)]).astype(np.uint8)

def image_of(*pictures):
    return torch.stack([torch.from_numpy(each.astype(np.float32) / 255) for each in pictures])

class Reference(SimpleNamespace):
    # The command's latents in float32 and in float64.
    def error(self, found):
        # The largest error of a result, in those that are allowed: above 1 is too much.
        allowed = TIMES * (self.plain - self.exact).abs().max() + FLOOR * self.exact.abs().max() + HOSTS
        return ((found - self.exact).abs().max() / allowed).item()

def command(kind, pixels, seed=SEED, **options):
    settings = {"num_frames": FRAMES, "steps": STEPS, "seed": seed, **SIZE, **options}
    settings = Settings(**settings).complete(CHECKPOINTS[kind].variant)
    found = []
    for pipeline in (PIPELINES[kind], EXACT[kind]):
        prepared = pipeline.prepare(pixels, settings)
        found.append(pipeline.sample(pipeline.encode(prepared, settings), settings))
    return Reference(plain=found[0], exact=found[1])

def caught(make):
    # What a node hands to the decoder, in the scale of the diffusion model.
    held = []
    decode = VideoVAE.decode
    VideoVAE.decode = lambda vae, latents, *more, **rest: held.append(latents) or decode(
        vae, latents, *more, **rest)
    try:
        frames = make().result[0]
    finally:
        VideoVAE.decode = decode
    return torch.cat(held) * LATENT_SCALE, frames

def animate(kind, *pictures, seed=SEED, **options):
    return caught(lambda: output.Animate.execute(
        checkpoint=NAMES[kind], image=image_of(*pictures), motion=127, seed=seed, frames=FRAMES, steps=STEPS,
        **SIZE, **options))

def graph(kind, *pictures, seed=SEED, sampler="stillmotion euler", fit="crop", between=None, moved=None):
    variant = CHECKPOINTS[kind].variant
    chosen = find_preset(variant, FRAMES)
    model, tower, vae = loaders.LoadCheckpoint.execute(checkpoint=NAMES[kind]).result
    positive, negative, latent, shown = conditioning.ImageToVideo.execute(
        clip_vision=tower, vae=vae, image=image_of(*pictures), fit=fit, frames=FRAMES, fps=chosen.fps,
        motion_bucket_id=127, noise_aug=chosen.noise_aug, seed=seed, cut_out=variant.orbit, **SIZE).result
    if variant.camera:
        positive, negative = conditioning.Orbit.execute(
            positive=positive, negative=negative, elevation=10.0, azimuths="").result
    if moved:
        positive, negative = conditioning.Camera.execute(
            positive=positive, negative=negative, **moved).result
    sampled = sampling.KSampler.execute(
        model=model, positive=positive, negative=negative, latent=between(latent) if between else latent,
        seed=seed, sampler=sampler, shape=chosen.guidance, min_guidance=chosen.min_guidance,
        max_guidance=chosen.max_guidance, scales="", schedule="karras", steps=STEPS, sigma_max=700.0,
        sigma_min=0.002, rho=7.0, denoise=1.0).result[0]
    last = shown if variant.orbit else None
    return caught(lambda: output.Decode.execute(latent=sampled, vae=vae, last_frame=last))

def swapped(module, name, other, make):
    kept = getattr(module, name)
    setattr(module, name, other)
    try:
        return make()
    finally:
        setattr(module, name, kept)

errors = {}
for kind in FILES:
    pixels = OBJECT if kind.startswith("sv3d") else RGB
    expected = command(kind, pixels)
    for door in (animate, graph):
        errors[f"{kind}, {door.__name__}"] = expected.error(door(kind, pixels)[0])
    if kind.startswith("sv3d"):
        prepared = PIPELINES[kind].prepare(pixels, Settings(**SIZE))[0].movedim(0, -1) / 2 + 0.5
        for door in (animate, graph):
            frames = door(kind, pixels)[1]
            ends = [(frames[index] - prepared).abs().max().item() for index in (-1, 0)]
            errors[f"{kind}, {door.__name__}, last frame"] = ends[0] / 1e-6
            errors[f"{kind}, {door.__name__}, first frame is another"] = 1e-2 / ends[1]

# A camera by its name and as a list, alone and of the second of two videos, and in a performed recipe.
poses = json.dumps(named_track("orbit_left", FRAMES).tolist())
for moved, chosen in (
    ({"camera": "pan_left", "speed": 2.0}, {"camera": "pan_left", "camera_speed": 2.0}),
    ({"camera": "list", "speed": 0.5, "poses": poses}, {"camera": json.loads(poses), "camera_speed": 0.5}),
):
    expected = command("motionctrl_svd", RGB, **chosen)
    name = moved["camera"]
    errors[f"camera {name}"] = expected.error(graph("motionctrl_svd", RGB, moved=moved)[0])
    errors[f"camera {name} is another"] = 1 / expected.error(graph("motionctrl_svd", RGB)[0])
    two = graph("motionctrl_svd", RGB[::-1].copy(), RGB, seed=SEED - 1, moved=moved)[0]
    errors[f"camera {name}, second of two"] = expected.error(two[FRAMES:])
    plan = Plan.of(Settings(num_frames=FRAMES, steps=STEPS, seed=SEED, **SIZE, **chosen),
                   CHECKPOINTS["motionctrl_svd"].variant)
    performer = Performer(CHECKPOINTS["motionctrl_svd"], False)
    recipe = recipes_animate(plan, plan.canvas(image_of(RGB)[0].movedim(-1, 0)))
    step = next(recipe)
    run = recipe.send(performer.perform(step)).run
    errors[f"camera {name}, performed"] = expected.error(performer._sample(run))

for name in SOLVERS:
    scales = find_preset(CHECKPOINTS["svd"].variant)
    scales = {"schedule": "karras", "min_guidance": scales.min_guidance, "max_guidance": scales.max_guidance}
    expected = command("svd", RGB, sampler=name, **scales)
    errors[f"{name}"] = expected.error(graph("svd", RGB, sampler=f"stillmotion {name}")[0])
    two = graph("svd", RGB[::-1].copy(), RGB, seed=SEED - 1, sampler=f"stillmotion {name}")[0]
    errors[f"{name}, second of two"] = expected.error(two[FRAMES:])

for kind, pixels in (("svd", RGB), ("svd", OBJECT), ("sv3d_u", OBJECT), ("sv3d_u", OPAQUE)):
    for fit in FITS:
        shown = {id(RGB): "RGB", id(OBJECT): "RGBA", id(OPAQUE): "opaque RGBA"}[id(pixels)]
        found = graph(kind, pixels, fit=fit)[0]
        errors[f"{kind}, {shown}, {fit}"] = command(kind, pixels, fit=fit).error(found)

# Batches: video v has the seed s + v, which begins again at 0.
batch = (OPAQUE, OBJECT, OBJECT[:, ::-1].copy())
alone = [command("svd", pixels, seed=(SEED + video) % 2**64) for video, pixels in enumerate(batch)]
for door in (animate, graph):
    videos = door("svd", *batch)[0].split(FRAMES)
    for number, (expected, video) in enumerate(zip(alone, videos)):
        errors[f"video {number} of 3, {door.__name__}"] = expected.error(video)

def seeds(origins):
    latent = {"samples": torch.zeros(len(origins), 4, 8, 16), "batch_index": origins}
    return latents.seeds_of_videos(latent, FRAMES, SEED)

# The second of two alone, as core's Latent From Batch cuts it out; two joined, as Latent Batch joins them.
cut = {"second": seeds([3, 4, 5]), "both": seeds([0, 1, 2, 3, 4, 5]), "joined": seeds([0, 1, 2, 0, 1, 2])}

refused = []
for size in ((1, 64, 64, 3), (2, 64, 128, 3), (1, 64, 128, 4)):
    latent = {"samples": torch.zeros(FRAMES, 4, 8, 16)}
    try:
        output.decode_latent(loaders.LoadCheckpoint.execute(checkpoint=NAMES["svd"]).result[2], latent,
                             last_frame=torch.zeros(size))
    except ValueError as error:
        refused.append(str(error))

# A door that is changed in one thing alone is another clip.
other = lambda draw: lambda seed, *shape: draw(seed ^ 1, *shape)
ancestral = {"schedule": "karras", "min_guidance": 1.5, "max_guidance": 3.0, "sampler": "euler_ancestral"}
expected = command("svd", RGB, **ancestral)
run = lambda: graph("svd", RGB, sampler="stillmotion euler_ancestral")[0]
from pack.nodes.host import sampling as host_sampling
def nearest(pixels, width, height, fit, cut_out):
    return torch.nn.functional.interpolate(pixels[None], (height, width), mode="bilinear") * 2 - 1
changed = {
    "picture": expected.error(swapped(noise, "picture_noise", other(noise.picture_noise), run)),
    "start": expected.error(swapped(sampling, "start_noise", other(noise.start_noise), run)),
    "steps": expected.error(swapped(host_sampling, "step_noise", other(noise.step_noise), run)),
    "resize": expected.error(swapped(conditioning, "to_canvas", nearest, run)),
}
print(json.dumps({"errors": errors, "changed": changed, "cut": cut, "refused": refused}))
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_doors")
    for kind in KINDS:
        checkpoints.write(folder / f"{kind}.safetensors", kind, sizes=tiny.SMALL)
    return in_host.result_of(f"folder, kinds = {json.dumps(str(folder))}, {KINDS}\n" + SCRIPT)


def test_each_clip_is_the_commands(measured):
    """Kinds of checkpoints, cameras, solvers, fits, transparency, batches; an orbit ends on the picture."""
    assert {name: error for name, error in measured["errors"].items() if error > 1} == {}
    assert len(measured["errors"]) == 10 + 8 + 8 + 12 + 12 + 6


@pytest.mark.parametrize("what", ["picture", "start", "steps", "resize"])
def test_one_stream_of_noise_or_another_resize_makes_another_clip(measured, what):
    assert measured["changed"][what] > 50


def test_a_video_keeps_the_seed_that_it_had_in_its_batch(measured):
    assert measured["cut"] == {"second": [0], "both": [2**64 - 1, 0], "joined": [2**64 - 1] * 2}


def test_a_last_frame_of_another_size_or_number_is_refused(measured):
    assert len(measured["refused"]) == 3
    for found, said in zip(("1×64×64×3", "2×64×128×3", "1×64×128×4"), measured["refused"], strict=True):
        assert f"last_frame is {found}; 1 videos of 128×64 want a picture for each" in said
