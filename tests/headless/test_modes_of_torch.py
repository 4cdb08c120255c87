"""Whatever modes of torch the caller is in, the clip is the same, and the modes are as they were."""

import contextlib
import functools
import random
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion.clips.settings import Settings
from stillmotion.headless.pipeline import Pipeline
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.sources import TensorFile
from support import checkpoints, tiny

SHORT = {"num_frames": 3, "width": 64, "height": 64, "steps": 2}
WAYS = {  # each kind of noise, guidance, vector and decoder in one of them
    "svd": Settings(**SHORT, sampler="euler_ancestral", guidance="trapezoid", seed=3),
    "svd_image_decoder": Settings(**SHORT, churn=20, guidance=(1.0, 2.0, 1.5), feature_cache=2),
    "sv3d_p": Settings(**SHORT, sampler="dpmpp_2m_sde", schedule="exponential", elevation=5.0),
}


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", torch.float16),
    "float64 by default": lambda: default_dtype(torch.float64),
    "float16 by default": lambda: default_dtype(torch.float16),
    "another device by default": lambda: default_device("meta"),
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
    "no gradients": torch.no_grad,
    "deterministic": deterministic,
    "a seed of the caller's": lambda: contextlib.nullcontext(torch.manual_seed(1)),
}
modes = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def global_state() -> tuple:
    """What a caller could find changed."""
    return (
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        torch.random.default_generator.get_state().tolist(),
        random.getstate(),
        tuple(np.random.get_state()[1]),
    )


@functools.cache
def checkpoint(kind: str) -> Checkpoint:
    content = checkpoints.tensors(kind, sizes=tiny.SMALL)
    return Checkpoint(TensorFile.of_tensors(Path(f"{kind}.safetensors"), content))


@functools.cache
def picture() -> Image.Image:
    y, x = np.mgrid[0:96, 0:256]  # wider than the image tower's input, so that it is blurred for it
    pixels = np.stack([x, 2 * y, 255 * ((x // 16 + y // 16) % 2)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def animate(kind: str) -> tuple[bytes, bytes]:
    clip = Pipeline(checkpoint(kind), "cpu").animate(picture(), WAYS[kind])
    assert (clip.latents.dtype, clip.latents.device.type) == (torch.float32, "cpu")
    return clip.frames.tobytes(), clip.latents.numpy().tobytes()


plain = functools.cache(animate)


@modes
@pytest.mark.parametrize("kind", WAYS)
def test_the_clip_is_the_same_and_the_modes_stay(kind, mode):
    expected = plain(kind)
    with mode():
        before = global_state()
        clip = animate(kind)
        assert global_state() == before
    assert clip == expected


MOTION = {
    "regions": [{"kind": "freeze", "polygon": [[0, 0], [1, 0], [1, 0.3]]}],
    "drags": [{"path": [{"x": 0.4, "y": 0.6}, {"x": 0.6, "y": 0.5, "scale": 1.5, "degrees": 20}]}],
    "camera": {"pan": [0.1, 0], "nearness": "near.png"},
}


@modes
def test_a_clip_with_a_motion_is_the_same(mode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture().save("near.png")
    pipeline, chosen = Pipeline(checkpoint("svd"), "cpu"), {**SHORT, "steps": 6, "hold_until": 1.0}
    moved = {"motion": MOTION, "freeze": np.eye(256, dtype=np.uint8)[:96] * 9}
    expected = pipeline.animate(picture(), chosen, **moved)
    with mode():
        before = global_state()
        clip = pipeline.animate(picture(), chosen, **moved)
        assert global_state() == before
    assert clip.frames.tobytes() == expected.frames.tobytes()
    assert torch.equal(clip.latents, expected.latents)


@modes
def test_frames_may_be_asked_for_in_other_modes_than_the_first(mode):
    pipeline = Pipeline(checkpoint("svd"), "cpu")
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = pipeline.decode(latents)
    with mode():
        frames = pipeline.stream(latents)
        first = next(frames)
    assert torch.equal(torch.stack([first, *frames]), expected)
    frames = pipeline.stream(latents)
    first = next(frames)
    before = global_state()
    with mode():
        rest = list(frames)
    assert global_state()[:-3] == before[:-3]
    assert torch.equal(torch.stack([first, *rest]), expected)


@modes
def test_a_pipeline_that_was_first_used_in_a_mode_goes_on_without(mode):
    pipeline = Pipeline(checkpoint("svd"), "cpu")
    settings = WAYS["svd"].complete(pipeline.checkpoint.variant)
    with mode():
        first = pipeline.animate(picture(), settings)
    again = pipeline.animate(picture(), settings)
    assert first.frames.tobytes() == again.frames.tobytes() == plain("svd")[0]
    torch.nn.functional.silu(again.latents, inplace=True)  # refused for what inference mode has made
    torch.nn.functional.silu(first.latents, inplace=True)


def test_two_threads_share_a_pipeline():
    """Each gets its own clip, and no network is loaded twice."""
    loaded = []
    pipeline = Pipeline(checkpoint("svd"), "cpu", progress=lambda *event: loaded.append(event))
    clips = {}
    ready = threading.Barrier(2)

    def work(seed: int) -> None:
        ready.wait()
        clips[seed] = pipeline.animate(picture(), Settings(**SHORT, seed=seed)).frames.tobytes()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = Pipeline(checkpoint("svd"), "cpu")
    for seed in (1, 2):
        assert clips[seed] == alone.animate(picture(), Settings(**SHORT, seed=seed)).frames.tobytes()
    stages = [stage for stage, done, _ in loaded if stage.startswith("loading") and not done]
    assert len(stages) == len(set(stages)) == 4
