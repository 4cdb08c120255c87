"""A loop decoded on its ring, through the Python API and the command."""

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion.headless import Pipeline, read_metadata
from stillmotion.headless.command_line import OK, main
from stillmotion.headless.files import latents
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.networks.vae import LATENT_SCALE
from support import checkpoints

QUICK = ("--frames", "3", "--width", "64", "--height", "64", "--steps", "1")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return checkpoints.write(tmp_path_factory.mktemp("ring") / "tiny.safetensors")


@pytest.fixture(scope="module")
def pipeline(file):
    return Pipeline(Checkpoint.open(file), device="cpu")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), "teal").save("photo.png")
    return tmp_path


def a_clip(frames=4):
    return torch.randn(frames, 4, 8, 8, generator=torch.Generator().manual_seed(3))


def animate(file, *words):
    assert main(["animate", *map(str, words), "--checkpoint", str(file)]) == OK


def frames_of(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])


def test_the_pipeline_decodes_as_the_network_does(pipeline):
    clip = a_clip()
    with torch.no_grad():
        expected = pipeline.decoder(clip / LATENT_SCALE, len(clip), ring=True)
    found = pipeline.decode(clip, ring=True)
    assert (found - expected).abs().max() < 2e-5 * expected.abs().max()
    assert (found - pipeline.decode(clip)).abs().max() > 0.1 * expected.abs().max()


def test_a_ring_may_begin_at_any_frame(pipeline):
    clip = a_clip()
    found, rolled = pipeline.decode(clip, ring=True), pipeline.decode(clip.roll(2, 0), ring=True)
    assert (rolled - found.roll(2, 0)).abs().max() < 2e-5 * found.abs().max()


def test_frame_by_frame_nothing_changes(pipeline):
    clip = a_clip(2)
    plain = pipeline.decode(clip, frame_wise=True)
    assert torch.equal(pipeline.decode(clip, frame_wise=True, ring=True), plain)


def test_saved_latents_know_that_they_are_a_loop(place, file):
    animate(file, "photo.png", "--ring", "--output", "now", "--save-latents", "l.safetensors", *QUICK)
    assert latents.read(place / "l.safetensors").notes["ring"] is True
    animate(file, "--decode-latents", "l.safetensors", "--output", "later")
    assert read_metadata(place / "later")["ring"] is True
    assert np.array_equal(frames_of(place / "now"), frames_of(place / "later"))


def test_other_latents_are_decoded_as_a_loop_where_the_user_says_so(place, file):
    animate(file, "photo.png", "--output", "plain", "--save-latents", "l.safetensors", *QUICK)
    animate(file, "--decode-latents", "l.safetensors", "--output", "again")
    animate(file, "--decode-latents", "l.safetensors", "--ring", "--output", "ring")
    animate(file, "photo.png", "--ring", "--output", "at_once", *QUICK)
    plain, again, ring, at_once = (frames_of(place / name) for name in ("plain", "again", "ring", "at_once"))
    assert np.array_equal(plain, again)
    assert np.array_equal(ring, at_once)
    assert np.abs(ring.astype(int) - plain).max() > 10
    assert read_metadata(place / "again")["ring"] is False


def test_notes_of_another_kind_make_no_loop(place, file):
    latents.save(place / "l.safetensors", a_clip(2), {"checkpoint": "tiny.safetensors", "ring": "yes"})
    animate(file, "--decode-latents", "l.safetensors", "--output", "plain")
    assert read_metadata(place / "plain")["ring"] is False
