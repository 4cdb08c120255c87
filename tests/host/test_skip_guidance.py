"""Skip guidance, APG and attention over time in a real ComfyUI: the command's latents, and what is refused.

The bound is test_two_doors', for doors that compute with networks of their own kinds.
"""

import json

import pytest

from support import checkpoints, graphs, in_host, tiny
from support.graphs import node
from support.host_pictures import close, frames_of

SCRIPT = """
sys.path.insert(0, root + "/tests")
comfy.cli_args.args.fp32_text_enc = True  # or the host rounds the image tower's weights to float16
import folder_paths
import numpy as np
from collections import Counter
from pathlib import Path
from support.rounding import FLOOR, TIMES
from pack.headless import Pipeline
from pack.clips.plan import Plan
from pack.clips.presets import find_preset
from pack.clips.recipes.animate import animate as recipe_of
from pack.clips.settings import Settings
from pack.nodes import conditioning, loaders, sampling, speed, steering
from pack.nodes.host import unet as host_unet
from pack.nodes.host.model import VideoModel
from pack.nodes.host.guider import check_without_memory
from pack.nodes.host.performer import Performer
from pack.svd_model.checkpoint import Checkpoint
from pack.svd_model.networks.vae import LATENT_SCALE

SEED, FRAMES, STEPS, SIZE = 7, 3, 4, {"width": 128, "height": 64}
HOSTS = 7 * 2**-24 * 700 * 4  # of four standard deviations of the first noise, which few numbers pass
CHECKPOINT = Checkpoint.open(Path(folder) / "svd.safetensors")
folder_paths.add_model_folder_path("checkpoints", folder)

class Exact(Pipeline):
    # Its networks compute in float64.
    def __init__(self):
        super().__init__(CHECKPOINT, device="cpu")
        self.dtype = torch.float64
        self.encoder.double()

    def encode_pictures(self, pictures):
        return super().encode_pictures(pictures.double()).float()

PIPELINES = Pipeline(CHECKPOINT, device="cpu"), Exact()
y, x = np.mgrid[0:150, 0:250]
RGB = np.stack([x, y, 255 * ((x // 16 + y // 16) % 2)], axis=-1).astype(np.uint8)
IMAGE = torch.from_numpy(RGB.astype(np.float32) / 255)[None]

def command(seed=SEED, **options):
    settings = Settings(num_frames=FRAMES, steps=STEPS, seed=seed, **SIZE, **options)
    return [pipeline.sample(pipeline.encode(pipeline.prepare(RGB, settings), settings), settings)
            for pipeline in PIPELINES]

def error(found, reference):
    # The largest error of a result, in those that are allowed: above 1 is too much.
    plain, exact = reference
    allowed = TIMES * (plain - exact).abs().max() + FLOOR * exact.abs().max() + HOSTS
    return ((found - exact).abs().max() / allowed).item()

MODEL, TOWER, VAE = loaders.LoadCheckpoint.execute(checkpoint="svd.safetensors").result
CHOSEN = find_preset(CHECKPOINT.variant, FRAMES)
WHOLE = {"interval_low": 0.0, "interval_high": 1e6}
SCALES = {"shape": CHOSEN.guidance, "min_guidance": CHOSEN.min_guidance,
          "max_guidance": CHOSEN.max_guidance, "scales": ""}

def clip(videos=1):
    return conditioning.ImageToVideo.execute(
        clip_vision=TOWER, vae=VAE, image=IMAGE.repeat(videos, 1, 1, 1), fit="crop", frames=FRAMES, fps=6.0,
        motion_bucket_id=127, noise_aug=CHOSEN.noise_aug, seed=SEED, cut_out=False, **SIZE).result[:3]

def sampled(model, videos=1, **options):
    positive, negative, latent = clip(videos)
    options = {"sampler": "stillmotion euler", **SCALES, **options}
    return sampling.KSampler.execute(
        model=model, positive=positive, negative=negative, latent=latent, seed=SEED, schedule="karras",
        steps=STEPS, sigma_max=700.0, sigma_min=0.002, rho=7.0, denoise=1.0,
        **options).result[0]["samples"] * LATENT_SCALE

def by_core(model, sampler="euler", cfg=1.0):
    # Core's own sampler node; the noise is ours, which starts a clip at its levels.
    positive, negative, latent = clip()
    sigmas = sampling.make_sigmas("karras", STEPS, sigma_max=700.0, sigma_min=0.002, rho=7.0)
    import comfy.sample
    from pack.clips.noise import start_noise
    noise = start_noise(SEED, latent["samples"].shape)
    return comfy.sample.sample_custom(
        model, noise, cfg, comfy.samplers.sampler_object(sampler), sigmas, positive, negative,
        latent["samples"], seed=SEED) * LATENT_SCALE

def skip(model=MODEL, spatial=2.0, temporal=0.5, layers="u0", rescale=0.7, over="clip", **interval):
    return steering.SkipGuidance.execute(model=model, spatial=spatial, temporal=temporal, layers=layers,
        rescale=rescale, rescale_over=over, **{**WHOLE, **interval}).result[0]

def attention(model=MODEL, sharpness=1.0, positions=0):
    return steering.TemporalAttention.execute(model=model, sharpness=sharpness, positions=positions).result[0]

def low_pass(model=MODEL, share=0.4, down_to=1.0):
    return steering.LowPassed.execute(model=model, share=share, down_to=down_to).result[0]

def guide(model=MODEL, **options):
    return sampling.Guidance.execute(model=model, **{**SCALES, **WHOLE, **options}).result[0]

def cached(model, interval=2):
    return speed.FeatureCache.execute(model=model, interval=interval).result[0]

STG = {"skip_guidance": (2, 0.5), "guidance_rescale": 0.7}
def one_by_one(make):
    # As where memory holds a single prediction at once.
    required = VideoModel.memory_required
    VideoModel.memory_required = lambda *inputs, **options: 2**60
    try:
        return make()
    finally:
        VideoModel.memory_required = required

def by_turns(make):
    # As where the memory holds all predictions in every other step.
    required, calls = VideoModel.memory_required, []
    def wanted(*inputs, **options):
        calls.append(1)
        return 2**60 if len(calls) % 3 else required(*inputs, **options)
    VideoModel.memory_required = wanted
    try:
        return make()
    finally:
        VideoModel.memory_required = required

errors, others = {}, {}
def compare(name, found, **settings):
    expected = command(**settings)
    errors[name] = error(found, expected)
    if settings:
        others[name] = error(PLAIN, expected)

PLAIN = sampled(MODEL)
compare("plain", PLAIN)
compare("skip", sampled(skip()), **STG)
compare("skip, core's sampler", by_core(guide(skip())), **STG)
compare("skip after guidance", by_core(skip(guide())), **STG)
compare("skip, core's cfg", by_core(skip(), cfg=2.0), **STG, guidance=2.0)
compare("skip, no guidance", by_core(skip()), **STG, guidance=1.0)
compare("space alone", sampled(skip(temporal=0.0)), skip_guidance=(2, 0), guidance_rescale=0.7)
compare("layers", sampled(skip(layers="m0, u1")), **STG, skip_layers="m0,u1")
compare("interval", sampled(skip(interval_low=0.01, interval_high=100.0)), **STG, skip_interval=(0.01, 100))
compare("rescale alone", sampled(skip(spatial=0.0, temporal=0.0, over="frame")), guidance_rescale=0.7)
compare("sharpness", sampled(attention(sharpness=1.3)), temporal_sharpness=1.3)
compare("positions", sampled(attention(positions=9)), temporal_positions=9)
blurred = {"low_pass": 0.4, "low_pass_until": 1.0}
compare("low pass", sampled(low_pass()), **blurred)
compare("low pass, core's sampler", by_core(guide(low_pass())), **blurred)
compare("low pass and skip", sampled(low_pass(skip())), **blurred, **STG)
both = {**STG, "temporal_sharpness": 1.3, "temporal_positions": 9}
compare("skip and attention", sampled(skip(attention(sharpness=1.3, positions=9))), **both)
compare("attention and skip", sampled(attention(skip(), sharpness=1.3, positions=9)), **both)
compare("feature cache", sampled(cached(skip())), **STG, feature_cache=2)
between = {"interval_low": 1.0, "interval_high": 100.0}
limits = {
    "guidance": (guide(**between), {"guidance_interval": (1, 100)}),
    "guidance and skip": (skip(guide(**between)), {**STG, "guidance_interval": (1, 100)}),
    "skip": (skip(guide(), **between), {**STG, "skip_interval": (1, 100)}),
}
ways = {"together": lambda make: make(), "one by one": one_by_one, "by turns": by_turns}
for name, (model, within) in limits.items():
    for way, run in ways.items():
        found = run(lambda: by_core(cached(model)))
        compare(f"feature cache, interval of {name}, {way}", found, **within, feature_cache=2)
apg = {"guidance_method": "apg", "apg_parallel": 0.3, "apg_limit": 3.0, "apg_momentum": -0.5}
inputs = {"method": "apg", "parallel": 0.3, "limit": 3.0, "momentum": -0.5}
compare("apg", by_core(guide(**inputs)), **apg)
compare("apg, again", by_core(guide(**inputs)), **apg)
compare("apg and skip", by_core(skip(guide(**inputs))), **apg, **STG)

two = sampled(skip(attention(sharpness=1.3)), videos=2).split(FRAMES)
for number, video in enumerate(two):
    compare(f"video {number} of 2", video, **STG, temporal_sharpness=1.3, seed=SEED + number)

def performed(**options):
    plan = Plan.of(Settings(num_frames=FRAMES, steps=STEPS, seed=SEED, **SIZE, **options), CHECKPOINT.variant)
    performer = Performer(CHECKPOINT, False)
    recipe = recipe_of(plan, plan.canvas(IMAGE[0].movedim(-1, 0)))
    return performer._sample(recipe.send(performer.perform(next(recipe))).run)

compare("performed", performed(**both), **both)
compare("performed low pass", performed(**blurred), **blurred)

def override(function, *args, **kwargs):
    kwargs.pop("transformer_options", None)
    return function(*args, **kwargs)

# Where another node takes over attention, blocks run in core's order.
patched = skip(attention(sharpness=1.3)).clone()
patched.model_options["transformer_options"]["optimized_attention_override"] = override
compare("overridden attention", sampled(patched), **STG, temporal_sharpness=1.3)
patched = skip(attention(sharpness=1.3)).clone()
patched.set_model_attn1_patch(lambda q, k, v, options: (q, k, v))
compare("patched attention", sampled(patched), **STG, temporal_sharpness=1.3)

off = skip(spatial=0.0, temporal=0.0, rescale=0.0)
unchanged = {
    "skip": torch.equal(sampled(off), PLAIN),
    "attention": torch.equal(sampled(attention()), PLAIN),
    "low pass above all levels": torch.equal(sampled(low_pass(down_to=1000.0)), PLAIN),
    "nothing within the interval": torch.equal(
        sampled(skip(rescale=0.0, interval_low=800.0, interval_high=900.0)), PLAIN),
}

# How many calls of the UNet, over how many videos, and under which names of predictions.
calls, named, forward = [], set(), host_unet.HostUNet.forward
def counted(self, x, *inputs, **options):
    calls.append(len(x) // FRAMES)
    named.update(options["transformer_options"]["uuids"])
    return forward(self, x, *inputs, **options)
def videos_of(make):
    calls.clear(), named.clear()
    make()
    return sum(calls) / STEPS, len(named)
host_unet.HostUNet.forward = counted
costs = {
    "plain": videos_of(lambda: sampled(MODEL)),
    "off": videos_of(lambda: sampled(off)),
    "skip": videos_of(lambda: sampled(skip())),
    "space alone": videos_of(lambda: sampled(skip(temporal=0.0))),
    "guidance of 1": videos_of(lambda: by_core(skip(guide(shape="constant", max_guidance=1.0)))),
}
host_unet.HostUNet.forward = forward

# How many videos go through each stage in a step.
def by_stage(make, model):
    counts = Counter()
    network = model.model.diffusion_model
    handles = [
        stage.register_forward_pre_hook(
            lambda _, inputs, number=number: counts.update({number: len(inputs[0][0]) // FRAMES}))
        for number, stage in enumerate(network._stages())
    ]
    make(model)
    for handle in handles:
        handle.remove()
    return [counts[number] / STEPS for number in range(len(network.places))]

def watched(model):
    # The model with a patch of another node, which changes nothing.
    model = model.clone()
    model.set_model_output_block_patch(lambda h, skip, options: (h, skip))
    return model

stages = {
    "plain": by_stage(sampled, MODEL),
    "skip": by_stage(sampled, skip()),
    "space alone": by_stage(sampled, skip(temporal=0.0)),
    "two videos": by_stage(lambda model: sampled(model, videos=2), skip()),
    "guidance of 1": by_stage(by_core, skip(guide(shape="constant", max_guidance=1.0))),
    "below the interval": by_stage(sampled, skip(interval_low=800.0)),
    "another's patch": by_stage(sampled, watched(skip())),
    "cached": by_stage(sampled, cached(skip())),
}
left = MODEL.model.run_cache.early._kept is None and MODEL.model.run_cache.features._sets == []
compare("one after the other", one_by_one(lambda: sampled(skip())), **STG)

refused = []
for make in (
    lambda: skip(layers="u9, u0"),
    lambda: skip(layers=" ,"),
    lambda: skip(interval_low=9.0, interval_high=2.0),
    lambda: attention(positions=1),
    lambda: check_without_memory(guide(**inputs), "this loop"),
):
    try:
        make()
        refused.append(None)
    except ValueError as complaint:
        refused.append(str(complaint))
print(json.dumps([errors, others, unchanged, costs, refused, [stages, left]]))
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("skip_guidance")
    checkpoints.write(folder / "svd.safetensors", "svd", sizes=tiny.SMALL)
    return in_host.result_of(f"folder = {json.dumps(str(folder))}\n" + SCRIPT)


def test_each_clip_is_the_commands(measured):
    """Through SVD KSampler and core's sampler, in either order of nodes, in batches and recipes."""
    errors, others = measured[:2]
    assert {name: error for name, error in errors.items() if error > 1} == {}
    assert len(errors) == 37
    assert min(others.values()) > 50  # each of them is another clip than the plain one


def test_what_is_off_gives_equal_bytes(measured):
    assert measured[2] == dict.fromkeys(measured[2], True)


def test_only_what_is_on_costs_passes(measured):
    """Two passes of plain guidance, and one more for space and for time.

    Each has a name of its own in all steps, by which EasyCache keeps what it kept of them.
    """
    expected = {"plain": 2, "off": 2, "skip": 4, "space alone": 3, "guidance of 1": 3}
    assert measured[3] == {name: [passes, passes] for name, passes in expected.items()}


def test_stages_before_the_first_skipped_layer_run_once(measured):
    """For the positive prediction and those by hooks; the features are dropped with the step."""
    stages, left = measured[5]
    number_of = {place.name: number for number, place in enumerate(tiny.SMALL.unet.places())}
    stages_of_all = len(tiny.SMALL.unet.places())

    def shared(early: float, late: float, first: str = "u0") -> list[float]:
        # The first convolution, whose features the last stage joins, runs for each.
        fork = number_of[first]
        return [late, *[early] * (fork - 1), *[late] * (stages_of_all - fork)]

    assert stages == {
        "plain": shared(2, 2),
        "skip": shared(2, 4),
        "space alone": shared(2, 3),
        "two videos": shared(4, 8),
        "guidance of 1": shared(1, 3),
        "below the interval": shared(2, 2),
        "another's patch": shared(4, 4),
        "cached": [4, *shared(1, 2)[1:-1], 4],  # in every second step
    }
    assert left


def test_mistakes_are_refused_in_words(measured):
    words = [
        "layers has u9; this UNet's layers with attention are d0",
        "layers is ' ,'; name one or more",
        "the interval is 9 to 2; give the lower sigma first",
        "positions is 1",
        "this model's guidance has a momentum, which can't go with this loop",
    ]
    for expected, said in zip(words, measured[4], strict=True):
        assert expected in said


SKIP = {"spatial": 2.0, "temporal": 0.5, "layers": "u0", "rescale": 0.7, "rescale_over": "clip"}
SKIP |= {"interval_low": 0.0, "interval_high": 1e6}


def test_a_graph_with_both_nodes_makes_another_video(server, base):
    plain = frames_of(base, server.run(graphs.first_video()))
    sharp = node("StillmotionTemporalAttention", model=["load", 0], sharpness=1.3)
    graph = graphs.first_video(
        sharp=sharp,
        skip=node("StillmotionSkipGuidance", model=["sharp", 0], **SKIP),
        sample={"model": ["skip", 0]},
    )
    assert not close(frames_of(base, server.run(graph)), plain)
