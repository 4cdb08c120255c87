"""From a picture to frames: against diffusers' pipeline, seeds, orbits, and what is refused."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion.clips.conditions import Conditions
from stillmotion.clips.settings import Settings
from stillmotion.headless.engine import fit, local, memory, networks
from stillmotion.headless.engine.devices import find_device, find_dtype
from stillmotion.headless.pipeline import Pipeline
from stillmotion.samplers.solvers import SOLVERS
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.sources import CheckpointError, TensorFile
from stillmotion.svd_model.layerwise import NotEnoughMemoryError
from stillmotion.svd_model.networks.finite import NotFiniteError
from support import checkpoints, diffusers_models, tiny
from training import measures

QUICK = Settings(num_frames=3, width=64, height=64, steps=2)


@functools.cache
def tensors(kind, sizes):
    return checkpoints.tensors(kind, sizes=sizes)


def make_pipeline(kind="svd", without=(), sizes=tiny.SMALL, **options):
    content = {key: tensor for key, tensor in tensors(kind, sizes).items() if not key.startswith(without)}
    return Pipeline(Checkpoint(TensorFile.of_tensors(Path(f"{kind}.safetensors"), content)), **options)


@functools.cache
def shared_pipeline(kind="svd"):
    return make_pipeline(kind, device="cpu")


@pytest.fixture(scope="module")
def photograph():
    """A picture with gradients and edges, 128×64."""
    y, x = np.mgrid[0:64, 0:128]
    pixels = np.stack([2 * x, 4 * y, 255 * ((x // 16 + y // 16) % 2)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.mark.parametrize("frames", [2, 5])
def test_clip_equals_that_of_diffusers(photograph, frames):
    """From the same start, at noise_aug 0, and the picture at the video's size, where both resize nothing."""
    ours = make_pipeline(device="cpu", sizes=tiny.GOLDEN)
    theirs = diffusers_models.pipeline(ours.unet, ours.encoder, ours.decoder, ours.vision)
    settings = Settings(
        num_frames=frames,
        width=128,
        height=64,
        steps=6,
        noise_aug=0.0,
        min_guidance=1.0,
        max_guidance=3.0,
        fps=7,
    )
    noise = torch.randn(frames, 4, 8, 16, generator=torch.Generator().manual_seed(5))
    clip = ours.animate(photograph, settings, noise=noise)

    reference = theirs(
        photograph,
        height=64,
        width=128,
        num_frames=frames,
        num_inference_steps=6,
        min_guidance_scale=1.0,
        max_guidance_scale=3.0,
        fps=7,
        motion_bucket_id=127,
        noise_aug_strength=0.0,
        latents=noise[None],
        output_type="np",
    ).frames[0]
    assert measures.psnr(clip.frames, np.round(reference * 255)) > 45


def test_same_seed_same_frames_byte_for_byte(photograph):
    first = shared_pipeline().animate(photograph, QUICK)
    again = make_pipeline(device="cpu").animate(photograph, QUICK)
    assert first.frames.tobytes() == again.frames.tobytes()
    assert first.frames.shape == (3, 64, 64, 3)
    assert first.frames.dtype == np.uint8


def test_another_seed_other_frames(photograph):
    first = shared_pipeline().animate(photograph, QUICK)
    other = shared_pipeline().animate(
        photograph, Settings(num_frames=3, width=64, height=64, steps=2, seed=1)
    )
    assert (first.frames != other.frames).mean() > 0.5


@pytest.mark.parametrize("kind", ["svd", "svd_image_decoder"])
def test_thread_count_does_not_change_the_picture(photograph, kind):
    """But for rounding, which two steps and a decode make some hundred times as large: 6e-8 at first."""
    pipeline = shared_pipeline(kind)
    settings = replace(QUICK, num_frames=2).complete(pipeline.checkpoint.variant)
    picture = pipeline.prepare(photograph, settings)
    results = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(pipeline.decode(pipeline.sample(pipeline.encode(picture, settings), settings)))
    finally:
        torch.set_num_threads(threads)
    assert (results[0] - results[1]).abs().max() <= 1e-4 * results[0].abs().max()


def test_progress_is_told_and_changes_nothing(photograph):
    told = []
    pipeline = make_pipeline(device="cpu", progress=lambda *event: told.append(event))
    clip = pipeline.animate(photograph, QUICK)
    assert clip.frames.tobytes() == shared_pipeline().animate(photograph, QUICK).frames.tobytes()
    assert [event for event in told if event[0] == "sampling"] == [("sampling", n, 2) for n in range(3)]
    assert ("decoding", 100, 100) in told
    loaded = ["loading the CLIP image tower", "loading the VAE encoder", "loading the UNet"]
    loaded.append("loading the temporal decoder")
    assert [event[0] for event in told if event[0].startswith("loading") and event[1] == 1] == loaded


def test_frame_wise_decoding_loads_no_other_decoder(photograph):
    told = []
    pipeline = make_pipeline(device="cpu", progress=lambda *event: told.append(event))
    pipeline.animate(photograph, Settings(num_frames=1, width=64, height=64, steps=1, frame_wise_decode=True))
    assert ("loading the frame-wise decoder", 1, 1) in told
    assert ("loading the temporal decoder", 1, 1) not in told


@pytest.mark.parametrize("frame_wise", [False, True])
def test_a_damaged_decoder_is_named_before_sampling(photograph, frame_wise):
    """Each kind where it is the one that is asked for."""
    prefix = "conditioner.embedders.3.encoder.decoder" if frame_wise else "first_stage_model.decoder"
    told = []
    pipeline = make_pipeline(
        without=(f"{prefix}.norm_out.",), device="cpu", progress=lambda *event: told.append(event)
    )
    with pytest.raises(CheckpointError, match="decoder is not whole"):
        pipeline.animate(
            photograph, Settings(num_frames=1, width=64, height=64, frame_wise_decode=frame_wise)
        )
    assert not told
    pipeline.animate(
        photograph, Settings(num_frames=1, width=64, height=64, steps=1, frame_wise_decode=not frame_wise)
    )


def test_frame_wise_decoding_takes_each_frame_on_its_own(photograph):
    """So a frame is the same whatever its neighbours are; with the temporal decoder it is not."""
    pipeline = shared_pipeline()
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    alone = pipeline.decode(latents[:1], frame_wise=True)
    assert torch.equal(pipeline.decode(latents, frame_wise=True)[:1], alone)
    assert not torch.allclose(pipeline.decode(latents)[:1], pipeline.decode(latents[:1]), atol=1e-2)


def test_image_decoder_files_decode_frame_wise_either_way():
    pipeline = shared_pipeline("svd_image_decoder")
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pipeline.decode(latents), pipeline.decode(latents, frame_wise=True))


@pytest.mark.parametrize("frame_wise", [False, True])
def test_a_clip_is_the_same_whatever_the_memory(frame_wise, tmp_path):
    """The smallest budget spills frames into a file.

    Float32 rounds at 6e-8 of a number, and a decode's twenty layers in a row make 1e-6 to 2e-6 of the largest
    of it, on any instruction set: ten times as much would be something else.
    """
    plain = shared_pipeline("svd")
    latents = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    least = plain.fit.needed((5, 8, 8), frame_wise, sample=False)
    tight = Pipeline(plain.checkpoint, "cpu", memory_budget=least, scratch_folder=tmp_path)
    expected = plain.decode(latents, frame_wise)
    assert (tight.decode(latents, frame_wise) - expected).abs().max() < 2e-5 * expected.abs().max()


def test_weights_stream_where_memory_runs_out_beside_them(photograph, monkeypatch):
    """On a card, played by the CPU; a clip for which they already stream, or cannot, is refused."""
    settings = replace(QUICK, seed=3)
    expected = make_pipeline(device="cpu").animate(photograph, settings).frames
    for module in (fit, networks):
        monkeypatch.setattr(module, "shares_host_memory", lambda device: False)
    monkeypatch.setattr(memory, "available", lambda device: 10**10)
    sample, streamed, enough = local.sample, [], True

    def short_of_memory(unet, *arguments):
        streamed.append(any(module._forward_pre_hooks for module in unet.modules()))
        if enough and streamed[-1]:
            return sample(unet, *arguments)
        raise NotEnoughMemoryError("memory ran out", 1)

    monkeypatch.setattr(local, "sample", short_of_memory)
    pipeline = make_pipeline(device="cpu")
    assert np.array_equal(pipeline.animate(photograph, settings).frames, expected)
    assert streamed == [False, True]
    enough = False
    with pytest.raises(NotEnoughMemoryError, match="memory ran out"):
        pipeline.animate(photograph, settings)
    assert streamed[2:] == [False, True]
    monkeypatch.setattr(pipeline, "fit", replace(pipeline.fit, can_stream=False))
    with pytest.raises(NotEnoughMemoryError, match="memory ran out"):
        pipeline.animate(photograph, settings)
    assert streamed[4:] == [False]


def test_a_clip_decoded_in_bfloat16_is_near():
    plain = shared_pipeline("svd")
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    narrow = Pipeline(plain.checkpoint, device="cpu", decode_dtype="bfloat16").decode(latents)
    expected = plain.decode(latents)
    assert 0 < (narrow - expected).abs().max() < 3e-2 * expected.abs().max()
    with pytest.raises(ValueError, match="decode_dtype is 'float16'; accepted are float32, bfloat16"):
        Pipeline(plain.checkpoint, device="cpu", decode_dtype="float16")


def test_frame_wise_decoding_without_such_a_decoder_is_refused():
    pipeline = make_pipeline(without=("conditioner.embedders.3.encoder.decoder.",), device="cpu")
    settings = Settings(frame_wise_decode=True).complete(pipeline.checkpoint.variant)
    with pytest.raises(CheckpointError, match="has no frame-wise decoder, only a temporal one"):
        pipeline.fit.check((2, 8, 8), settings.frame_wise_decode)


def test_a_network_that_is_not_whole_is_named_before_any_work():
    pipeline = make_pipeline(without=("model.diffusion_model.out.2.",), device="cpu")
    count = len(pipeline.checkpoint.unet.expected)
    with pytest.raises(
        CheckpointError, match=rf"the UNet is not whole: 2 of {count} tensors are missing .*out\.2"
    ):
        pipeline.animate(Image.new("RGB", (64, 64)), QUICK)


@pytest.mark.parametrize("sampler", SOLVERS)
def test_every_sampler_makes_finite_latents_of_the_seed_alone(photograph, sampler):
    pipeline = shared_pipeline()
    settings = Settings(num_frames=2, width=64, height=64, steps=3, sampler=sampler)
    settings = settings.complete(pipeline.checkpoint.variant)
    picture = pipeline.prepare(photograph, settings)
    latents, again = (pipeline.sample(pipeline.encode(picture, settings), settings) for _ in range(2))
    assert torch.isfinite(latents).all()
    assert torch.equal(latents, again)


def test_churn_adds_seeded_noise(photograph):
    plain = shared_pipeline().animate(photograph, QUICK)
    churned = [
        shared_pipeline().animate(photograph, Settings(num_frames=3, width=64, height=64, steps=2, churn=1.0))
        for _ in range(2)
    ]
    assert not torch.equal(plain.latents, churned[0].latents)
    assert torch.equal(churned[0].latents, churned[1].latents)


def test_min_guidance_may_exceed_max(photograph):
    settings = Settings(num_frames=3, width=64, height=64, steps=2, min_guidance=3.0, max_guidance=1.0)
    clip = shared_pipeline().animate(photograph, settings)
    assert clip.settings.guidance_scales().tolist() == [3.0, 2.0, 1.0]


def test_guidance_interval_leaves_the_unconditional_pass_out(photograph):
    """An interval that holds no step is the clip without guidance."""
    base = {"num_frames": 2, "width": 64, "height": 64, "steps": 2}
    outside = shared_pipeline().animate(photograph, Settings(**base, guidance_interval=(1.0, 2.0)))
    unguided = shared_pipeline().animate(photograph, Settings(**base, guidance="constant", max_guidance=1.0))
    assert torch.equal(outside.latents, unguided.latents)


def test_noise_aug_changes_the_conditioning_latent_only(photograph):
    pipeline = shared_pipeline()
    settings = [QUICK.complete(pipeline.checkpoint.variant)]
    settings.append(
        Settings(num_frames=3, width=64, height=64, noise_aug=0.5).complete(pipeline.checkpoint.variant)
    )
    picture = pipeline.prepare(photograph, settings[0])
    little, much = (pipeline.encode(picture, s) for s in settings)
    assert torch.equal(little.context, much.context)
    assert not torch.allclose(little.concat, much.concat, atol=1e-2)


def test_fps_is_embedded_less_one(photograph):
    pipeline = shared_pipeline()
    settings = Settings(num_frames=1, width=64, height=64, fps=7).complete(pipeline.checkpoint.variant)
    conditions = pipeline.encode(pipeline.prepare(photograph, settings), settings)
    assert torch.allclose(conditions.vector[0, :1], torch.cos(torch.tensor([6.0])))


@pytest.mark.parametrize("kind", ["sv3d_u", "sv3d_p"])
def test_orbit_ends_on_the_picture_itself(kind):
    picture = Image.new("RGB", (64, 64), (200, 30, 90))
    clip = shared_pipeline(kind).animate(picture, Settings(num_frames=4, width=64, height=64, steps=2))
    assert (clip.frames[-1] == (200, 30, 90)).all()
    assert not (clip.frames[0] == (200, 30, 90)).all()


def test_orbit_puts_the_object_before_white():
    cutout = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    cutout.paste((10, 200, 10, 255), (0, 0, 16, 16))
    pipeline = shared_pipeline("sv3d_u")
    picture = pipeline.prepare(cutout, Settings(width=64, height=64))
    assert (picture[0, :, 0, 0] == 1).all()  # a white corner
    wide = pipeline.prepare(cutout, Settings(width=128, height=64, fit="pad"))
    assert (wide[0, :, 32, 2] == 1).all()  # the margin of a padded picture
    centre = (picture[0, :, 32, 32] + 1) * 127.5
    assert torch.allclose(centre, torch.tensor([10.0, 200.0, 10.0]), atol=0.5)


def test_camera_angles_change_an_sv3d_p_orbit():
    picture = Image.new("RGB", (64, 64), (200, 30, 90))
    base = {"num_frames": 3, "width": 64, "height": 64, "steps": 2}
    pipeline = shared_pipeline("sv3d_p")
    default = pipeline.animate(picture, Settings(**base))
    assert default.settings.elevation == (10.0,) * 3
    assert default.settings.azimuths == (120.0, 240.0, 0.0)
    high = pipeline.animate(picture, Settings(**base, elevation=60.0))
    turned = pipeline.animate(picture, Settings(**base, azimuths=(90.0, 180.0, 0.0)))
    assert not torch.allclose(default.latents, high.latents, atol=1e-3)
    assert not torch.allclose(default.latents, turned.latents, atol=1e-3)


def test_transparency_becomes_white():
    picture = shared_pipeline().prepare(
        Image.new("RGBA", (64, 64), (0, 0, 0, 0)), Settings(width=64, height=64)
    )
    assert (picture == 1).all()


def test_nan_stops_with_an_explanation(photograph):
    pipeline = make_pipeline(device="cpu")
    settings = QUICK.complete(pipeline.checkpoint.variant)
    poisoned = Conditions(torch.full((1, 1, 64), torch.nan), torch.zeros(1, 4, 8, 8), torch.zeros(1, 768))
    with pytest.raises(NotFiniteError, match=r"NaN or infinity at step 1 of 2\. The checkpoint is damaged"):
        pipeline.sample(poisoned, settings)
    with pytest.raises(NotFiniteError, match="NaN or infinity in the latents to decode"):
        pipeline.decode(torch.full((1, 4, 8, 8), torch.inf))


def test_overflow_in_float16_names_the_remedy():
    pipeline = make_pipeline(device="cpu", dtype="float16")
    with pytest.raises(NotFiniteError, match="float16 overflowed: use the dtype bfloat16 or float32"):
        poisoned = Conditions(torch.full((1, 1, 64), torch.nan), torch.zeros(1, 4, 8, 8), torch.zeros(1, 768))
        pipeline.sample(poisoned, QUICK.complete(pipeline.checkpoint.variant))


def test_noise_of_another_shape_is_refused(photograph):
    with pytest.raises(
        ValueError, match=r"noise has shape \(1, 4, 8, 8\); these settings need \(3, 4, 8, 8\)"
    ):
        shared_pipeline().animate(photograph, QUICK, noise=torch.zeros(1, 4, 8, 8))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrower_dtypes_stay_close(photograph, dtype):
    exact = shared_pipeline().animate(photograph, QUICK)
    narrow = make_pipeline(device="cpu", dtype=dtype).animate(photograph, QUICK)
    assert (exact.latents - narrow.latents).abs().mean() < 0.1 * exact.latents.abs().mean()


@pytest.mark.parametrize("device", ["meta", "cuda:99", ""])
def test_devices_that_compute_nothing_here_are_refused(device):
    with pytest.raises(ValueError, match="can't be used here; try cpu, cuda, mps, xpu"):
        find_device(device)


def test_unknown_device_and_dtype_are_refused():
    with pytest.raises(ValueError, match="device tpu can't be used here; try cpu, cuda, mps, xpu"):
        find_device("tpu")
    with pytest.raises(ValueError, match="dtype is 'int8'; accepted are float32, float16, bfloat16"):
        find_dtype("int8", torch.device("cpu"))


def test_device_and_dtype_by_default():
    assert find_dtype(None, torch.device("cpu")) == torch.float32
    assert find_dtype(None, torch.device("cuda")) == torch.float16
    assert find_dtype(torch.bfloat16, torch.device("cpu")) == torch.bfloat16
    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        assert find_device(None) == torch.device("cpu")


def test_float8_is_refused_where_the_hardware_has_none():
    with pytest.raises(ValueError, match="float8 needs an NVIDIA GPU"):
        Pipeline(shared_pipeline().checkpoint, device="cpu", linear_dtype="float8")


def test_other_dtypes_of_linear_layers_are_refused():
    with pytest.raises(ValueError, match="linear_dtype is int4; accepted is float8"):
        Pipeline(shared_pipeline().checkpoint, device="cpu", linear_dtype="int4")
