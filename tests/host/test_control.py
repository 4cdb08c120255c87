"""A ControlNet through core's Apply ControlNet: the command's latents, its range, batches, and refusals.

The bound is test_two_doors', for doors that compute with networks of their own kinds.
"""

import json

import pytest

from support import checkpoints, controlnets, graphs, in_host, tiny
from support.host_pictures import frames_of

SCRIPT = """
sys.path.insert(0, root + "/tests")
comfy.cli_args.args.fp32_text_enc = True  # or the host rounds the image tower's weights to float16
import folder_paths
import nodes as core
import numpy as np
from pathlib import Path
from support.rounding import FLOOR, TIMES
from pack.headless import Pipeline
from pack.headless.files.images import to_tensor
from pack.clips.plan import Plan
from pack.clips.presets import find_preset
from pack.clips.settings import Settings
from pack.nodes import conditioning, loaders, sampling, steering
from pack.svd_model.checkpoint import Checkpoint
from pack.svd_model.checkpoint.controlnet import open_controlnet
from pack.svd_model.networks.controlnet import ControlNet
from pack.svd_model.networks.vae import LATENT_SCALE

SEED, FRAMES, STEPS, SIZE = 7, 3, 3, {"width": 128, "height": 64}
HOSTS = 7 * 2**-24 * 700 * 4  # of four standard deviations of the first noise, which few numbers pass
CHECKPOINT = Checkpoint.open(Path(folder) / "svd.safetensors")
PART = open_controlnet(Path(folder) / "tiny.safetensors")
for name in ("checkpoints", "controlnet"):
    folder_paths.add_model_folder_path(name, folder)

class Exact(Pipeline):
    # Its networks compute in float64.
    def __init__(self):
        super().__init__(CHECKPOINT, device="cpu", control=PART)
        self.dtype = torch.float64
        self.encoder.double()

    def encode_pictures(self, pictures):
        return super().encode_pictures(pictures.double()).float()

PIPELINES = Pipeline(CHECKPOINT, device="cpu", control=PART), Exact()
y, x = np.mgrid[0:150, 0:250]
RGB = np.stack([x, y, 255 * ((x // 16 + y // 16) % 2)], axis=-1).astype(np.uint8)
PICTURES = np.stack([np.roll(RGB, 20 * t, axis=1) for t in range(FRAMES)])
SMALL = PICTURES[:, :64, :128]

def image(pixels):
    return torch.from_numpy(pixels.astype(np.float32) / 255)

def command(pictures, seed=SEED, **options):
    settings = Settings(num_frames=FRAMES, steps=STEPS, seed=seed, **SIZE, **options)
    plan, found = Plan.of(settings, CHECKPOINT.variant), []
    control = None if pictures is None else plan.control_pictures(image(pictures).movedim(-1, 1))
    for pipeline in PIPELINES:
        conditions = pipeline.encode(pipeline.prepare(RGB, settings), settings)
        found.append(pipeline.sample_run(plan.run(conditions, pictures=control)))
    return found

def error(found, reference):
    # The largest error of a result, in those that are allowed: above 1 is too much.
    plain, exact = reference
    allowed = TIMES * (plain - exact).abs().max() + FLOOR * exact.abs().max() + HOSTS
    return ((found - exact).abs().max() / allowed).item()

LOADED = loaders.LoadCheckpoint.execute(checkpoint="svd.safetensors").result
SV3D = loaders.LoadCheckpoint.execute(checkpoint="sv3d_u.safetensors").result

def graph(*applied, videos=1, file="tiny.safetensors", weighting="author", loaded=LOADED):
    chosen = find_preset(CHECKPOINT.variant, FRAMES)
    model, tower, vae = loaded
    positive, negative, latent, _ = conditioning.ImageToVideo.execute(
        clip_vision=tower, vae=vae, image=image(np.stack([RGB] * videos)), fit="crop", frames=FRAMES, fps=6.0,
        motion_bucket_id=127, noise_aug=chosen.noise_aug, seed=SEED, cut_out=False, **SIZE).result
    net = loaders.LoadControlNet.execute(control_net=file, weighting=weighting).result[0]
    for pictures, *numbers in applied:
        positive, negative = core.ControlNetApplyAdvanced().apply_controlnet(
            positive, negative, net, image(pictures), *numbers)
    sampled = sampling.KSampler.execute(
        model=model, positive=positive, negative=negative, latent=latent,
        seed=SEED, sampler="stillmotion euler", shape=chosen.guidance,
        min_guidance=chosen.min_guidance, max_guidance=chosen.max_guidance, scales="", schedule="karras",
        steps=STEPS, sigma_max=700.0, sigma_min=0.002, rho=7.0, denoise=1.0).result[0]
    return sampled["samples"] * LATENT_SCALE

whole = (1.0, 0.0, 1.0)
errors, author = {}, command(PICTURES)
errors["author"] = error(graph((PICTURES, *whole)), author)
once = graph((PICTURES, *whole), weighting="once")
errors["once"] = error(once, command(PICTURES, control_weighting="once"))
errors["of the clip's size"] = error(graph((SMALL, *whole)), command(SMALL))
errors["one for all"] = error(graph((PICTURES[:1], *whole)), command(PICTURES[:1]))
half = command(PICTURES, control_strength=0.5)
halved = graph((PICTURES, 0.5, 0.0, 1.0))
errors["strength"] = error(halved, half)
ranges = {"control_start": 0.2, "control_end": 0.5}  # the second step's 15.6 alone, of 700, 15.6, 0.002
errors["range"] = error(graph((PICTURES, 1.0, 0.2, 0.5)), command(PICTURES, **ranges))
errors["two added up"] = error(graph((PICTURES, 0.3, 0.0, 1.0), (PICTURES, 0.2, 0.0, 1.0)), half)
blurred = steering.LowPassed.execute(model=LOADED[0], share=0.4, down_to=1.0).result[0], *LOADED[1:]
low_passed = graph((PICTURES, *whole), loaded=blurred)
errors["low pass"] = error(low_passed, command(PICTURES, low_pass=0.4, low_pass_until=1.0))
second = command(PICTURES, seed=SEED + 1)
for name, pictures in {"each": PICTURES, "all": np.concatenate([PICTURES, PICTURES])}.items():
    videos = graph((pictures, *whole), videos=2).split(FRAMES)
    errors[f"two videos, {name}"] = max(map(error, videos, (author, second)))

plain = graph()
changed = {
    "the pictures": error(graph((PICTURES[::-1].copy(), *whole)), author),
    "the strength": error(halved, author),
    "the weighting": error(once, author),
    "the start": error(graph((PICTURES, 1.0, 0.2, 1.0)), author),
    "the end": error(graph((PICTURES, 1.0, 0.0, 0.2)), author),
    "none": error(plain, author),
}
unchanged = {
    "strength 0": torch.equal(graph((PICTURES, 0.0, 0.0, 1.0)), plain),
    "never": torch.equal(graph((PICTURES, 1.0, 1.0, 1.0)), plain),
}

calls, embed = [], ControlNet.embed
ControlNet.embed = lambda *inputs: calls.append(1) or embed(*inputs)
graph((PICTURES, *whole))
ControlNet.embed = embed

def refusal(*applied, **options):
    try:
        graph(*applied, **options)
    except ValueError as error:
        return str(error)

refused = {
    "too few": refusal((PICTURES[:2], *whole)),
    "for two videos": refusal((np.concatenate([PICTURES, PICTURES[:1]]), *whole), videos=2),
    "another size": refusal((PICTURES, *whole), file="wide.safetensors"),
    "SV3D": refusal((PICTURES, *whole), loaded=SV3D),
    "a checkpoint": refusal((PICTURES, *whole), file="svd.safetensors"),
}
print(json.dumps({"errors": errors, "changed": changed, "unchanged": unchanged, "calls": len(calls),
                  "refused": refused}))
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("control")
    checkpoints.write(folder / "svd.safetensors", sizes=tiny.SMALL)
    checkpoints.write(folder / "sv3d_u.safetensors", "sv3d_u", sizes=tiny.SMALL)
    controlnets.write(folder / "tiny.safetensors", tiny.SMALL.unet)
    controlnets.write(folder / "wide.safetensors", tiny.GOLDEN.unet)
    return in_host.result_of(f"folder = {json.dumps(str(folder))}\n" + SCRIPT)


def test_each_clip_is_the_commands(measured):
    """Weightings, sizes, a single picture, strength, range, two ControlNets, a low pass, two videos."""
    assert {name: error for name, error in measured["errors"].items() if error > 1} == {}
    assert len(measured["errors"]) == 10


def test_one_thing_changed_makes_another_clip(measured):
    assert {name: error for name, error in measured["changed"].items() if error < 50} == {}


def test_without_strength_or_time_it_changes_nothing(measured):
    assert measured["unchanged"] == {"strength 0": True, "never": True}


def test_the_pictures_are_embedded_once_a_run(measured):
    assert measured["calls"] == 3


@pytest.mark.parametrize(
    ("what", "facts"),
    [
        ("too few", ("2 pictures", "3 frames")),
        ("for two videos", ("4 pictures", "2 × 3 frames")),
        ("another size", ("don't fit this model",)),
        ("SV3D", ("not svd's or svd_xt's",)),
        ("a checkpoint", ("an SVD checkpoint, not a temporal ControlNet",)),
    ],
)
def test_what_can_not_be_done_is_said(measured, what, facts):
    assert not [fact for fact in facts if fact not in (measured["refused"][what] or "nothing")]


def test_a_graph_of_the_page_runs(server, base):
    """The node by its name, with core's Apply ControlNet, and a clip other than without."""
    plain = frames_of(base, server.run(graphs.first_video(seed=5)))
    assert (frames_of(base, server.run(graphs.controlled(seed=5))) != plain).mean() > 0.3
