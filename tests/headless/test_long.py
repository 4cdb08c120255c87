"""Long clips of the built-in model: their frames, their memory, their progress, and cancelling them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion import builtin_model
from stillmotion.clips import needs
from stillmotion.clips.settings import Settings
from stillmotion.headless.engine.fit import Fit
from stillmotion.headless.pipeline import Clip, Pipeline
from support.live_memory import LiveMemory

SIZES = {"width": 64, "height": 64, "steps": 2, "chunk": 4, "overlap": 1}
CPU = torch.device("cpu")
ASSETS = Path(__file__).parents[2] / "assets"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(builtin_model.load(), "cpu", "float32")


def animated(pipeline: Pipeline, num_frames: int, **changes) -> Clip:
    picture = Image.radial_gradient("L").convert("RGB")
    return pipeline.animate(picture, {**SIZES, "num_frames": num_frames, **changes})


def test_a_chain_of_one_chunk_is_the_plain_clip_byte_for_byte(pipeline):
    plain = animated(pipeline, 4, chunk=None, overlap=None)
    chain = animated(pipeline, 4, long="chain")
    assert torch.equal(plain.latents, chain.latents) and np.array_equal(plain.frames, chain.frames)


@pytest.mark.parametrize("long", ["windows", "freenoise"])
def test_one_window_is_the_plain_clip(pipeline, long: str):
    """The mean of one estimate with the weight w is x·w/w, which rounds in float32."""
    plain = animated(pipeline, 4, chunk=None, overlap=None)
    fused = animated(pipeline, 4, long=long)
    assert (plain.latents - fused.latents).abs().max() < 1e-5 * plain.latents.abs().max()


def test_a_longer_clip_begins_with_the_shorter_ones_latents(pipeline):
    short, longer = animated(pipeline, 7).latents, animated(pipeline, 12).latents
    assert len(short) == 7 and len(longer) == 12
    assert torch.equal(short[:6], longer[:6])


def test_the_noise_of_a_caller_is_the_first_chunks(pipeline):
    noise = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    picture = Image.radial_gradient("L").convert("RGB")
    clip = pipeline.animate(picture, {**SIZES, "num_frames": 7}, noise)
    assert torch.equal(
        clip.latents[:3], pipeline.animate(picture, {**SIZES, "num_frames": 9}, noise).latents[:3]
    )
    with pytest.raises(ValueError, match="noise"):
        pipeline.animate(picture, {**SIZES, "num_frames": 7}, torch.randn(7, 4, 8, 8))


@pytest.mark.parametrize("long", ["chain", "windows", "freenoise"])
def test_samplings_peak_does_not_grow_with_the_clip(pipeline, long: str):
    """Only the latents grow, of which a solver and its steps hold some copies."""
    peaks = {}
    sample = pipeline.sample_run

    def measured(run, *of_run):
        with LiveMemory() as live:
            result = sample(run, *of_run)
        peaks[frames] = max(peaks.get(frames, 0), live.peak)
        return result

    pipeline.unet  # noqa: B018, which stays loaded
    pipeline.sample_run = measured
    pipeline.stream = lambda latents, *_: iter(torch.zeros(len(latents), 3, 64, 64))
    try:
        for frames in (7, 16):
            animated(pipeline, frames, long=long, steps=1)
    finally:
        del pipeline.sample_run, pipeline.stream
    copies = 0 if long == "chain" else 20
    assert peaks[16] <= peaks[7] + copies * (16 - 7) * 4 * 8 * 8 * 4


def test_progress_counts_the_steps_of_all_chunks():
    seen = []
    counted = Pipeline(
        builtin_model.load(), "cpu", "float32", lambda stage, done, total: seen.append((stage, done, total))
    )
    animated(counted, 10)
    assert [done for stage, done, _ in seen if stage == "sampling"] == [0, 1, 2, 2, 3, 4, 4, 5, 6]
    assert {total for stage, _, total in seen if stage == "sampling"} == {6}


def test_cancelling_in_a_later_chunk_ends_within_a_step():
    done = []

    def cancelling(stage: str, steps: int, total: int) -> None:
        done.append(steps)
        if stage == "sampling" and steps == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animated(Pipeline(builtin_model.load(), "cpu", "float32", cancelling), 10)
    assert done[-1] == 3


def test_memory_is_weighed_for_the_frames_at_once():
    checkpoint = builtin_model.load()
    fit = Fit(checkpoint, CPU, torch.float32, torch.float32)
    chunk, clip = (needs.to_sample(checkpoint, (n, 8, 8), torch.float32, CPU) for n in (4, 100))
    *_, sampling, decoding = fit.stages((100, 8, 8), False, at_once=4)
    assert (sampling.work, sampling.least) == (chunk.work, chunk.least)
    assert sampling.fastest < clip.fastest and "100 frames" in decoding.work


def test_the_parts_of_a_pipeline_make_the_clip(pipeline):
    picture = Image.radial_gradient("L").convert("RGB")
    settings = Settings(**SIZES, num_frames=7)
    conditions = pipeline.encode(pipeline.prepare(picture, settings), settings)
    assert torch.equal(pipeline.sample(conditions, settings), animated(pipeline, 7).latents)


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1])
def test_a_hundred_frames_keep_the_colours_and_the_contrast(pipeline, seed: int):
    """Each channel's mean moves less than in a true pan, 0.06 of its deviation, which stays within 5 %."""
    settings = {"num_frames": 100, "steps": 10, "schedule": "align_your_steps", "seed": seed}
    latents = pipeline.animate(ASSETS / "rocket.jpg", settings).latents
    (first, last), over = latents[[0, -1]], {"dim": (1, 2)}
    assert ((last.mean(**over) - first.mean(**over)) / first.std(**over)).abs().mean() < 0.06
    assert (last.std(**over) / first.std(**over)).mean() == pytest.approx(1, abs=0.05)
