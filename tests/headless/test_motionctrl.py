"""A camera of MotionCtrl behind the headless door: the clip, the metadata, and what is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion.clips import camera
from stillmotion.headless import Pipeline
from stillmotion.headless.command_line import OK, REFUSED, main
from stillmotion.headless.files.videos import read_metadata
from support import checkpoints, tiny

QUICK = {"num_frames": 3, "width": 64, "height": 64, "steps": 2}
OPTIONS = ("--frames", "3", "--width", "64", "--height", "64", "--steps", "2")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("motionctrl") / "motionctrl_svd.safetensors"
    return checkpoints.write(path, "motionctrl_svd", sizes=tiny.SMALL)


@pytest.fixture(scope="module")
def clip(file):
    """Latents of a clip with a camera, or without one."""
    picture = Image.fromarray(np.indices((64, 64)).sum(0).astype(np.uint8)).convert("RGB")
    pipeline = Pipeline.open(file, device="cpu")

    def animate(**settings):
        return pipeline.animate(picture, QUICK | settings).latents

    return animate


def test_a_camera_makes_another_clip_and_its_opposite_yet_another(clip):
    without, left = clip(), clip(camera="pan_left")
    size = without.abs().max()
    for other in (
        without,
        clip(camera="pan_right"),
        clip(camera="static"),
        clip(camera="pan_left", camera_speed=3),
    ):
        assert (left - other).abs().max() > 1e-3 * size
    poses = camera.named_track("pan_left", 3).view(3, 3, 4) / torch.tensor(
        [1, 1, 1, 3]
    )  # less the scale in x
    assert (clip(camera=poses) - left).abs().max() < 1e-5 * size


def test_a_frame_wise_vae_in_its_place_decodes_the_cameras_clip(file, clip, tmp_path):
    vae = checkpoints.write(tmp_path / "image_decoder.safetensors", "svd_image_decoder", sizes=tiny.SMALL)
    pipeline = Pipeline.open(file, vae=vae, device="cpu")
    assert pipeline.checkpoint.complete and pipeline.checkpoint.variant.name == "motionctrl_svd"
    assert not pipeline.checkpoint.variant.temporal_decoder
    picture = Image.fromarray(np.indices((64, 64)).sum(0).astype(np.uint8)).convert("RGB")
    found = pipeline.animate(picture, QUICK | {"camera": "pan_left"})
    assert torch.equal(found.latents, clip(camera="pan_left"))  # the tiny files have equal encoders
    expected = Pipeline.open(vae, device="cpu").decode(found.latents)
    assert torch.equal(pipeline.decode(found.latents), expected)
    temporal = Pipeline.open(file, device="cpu").decode(found.latents)
    assert (temporal - expected).abs().max() > 1e-3


def test_a_feature_cache_keeps_the_camera(clip):
    """Computed at each evaluation the deep layers are exact; at every other one they have the camera too."""
    plain = clip(camera="orbit_left")
    assert torch.equal(clip(camera="orbit_left", feature_cache=1), plain)
    near, without = clip(camera="orbit_left", feature_cache=2), clip(feature_cache=2)
    assert (near - without).abs().max() > 1e-3 * plain.abs().max()


def test_the_command_takes_a_name_or_a_file_and_writes_it_down(file, tmp_path):
    Image.new("RGB", (64, 64), (9, 99, 200)).save(tmp_path / "in.png")
    (tmp_path / "track.json").write_text(json.dumps(camera.named_track("roll_left", 3).tolist()))
    for option, written in (("zoom_in", "zoom_in"), (tmp_path / "track.json", None)):
        out = tmp_path / "out.webp"
        words = [
            "animate",
            tmp_path / "in.png",
            "--checkpoint",
            file,
            "--output",
            out,
            "--overwrite",
            *OPTIONS,
        ]
        assert main([*map(str, words), "--camera", str(option), "--camera-speed=-2"]) == OK
        notes = read_metadata(out)
        assert notes["camera_speed"] == -2
        if written:
            assert notes["camera"] == written
        else:
            assert torch.tensor(notes["camera"]).shape == (3, 12)


def test_mistakes_are_said_in_words(file, tmp_path, capsys):
    Image.new("RGB", (64, 64)).save(tmp_path / "in.png")
    (tmp_path / "short.json").write_text(json.dumps(camera.named_track("static", 2).tolist()))
    words = ["animate", str(tmp_path / "in.png"), *OPTIONS]
    for more, message in (
        (["--checkpoint", str(file), "--camera", "pan_lefd"], "did you mean pan_left?"),
        (["--checkpoint", str(file), "--camera", str(tmp_path / "no.json")], "there is no such file"),
        (["--checkpoint", str(file), "--camera", str(tmp_path / "short.json")], "camera lists 2 poses"),
        (["--checkpoint", str(file), "--camera-speed", "2"], "camera_speed goes with camera"),
        (["--camera", "pan_left"], "camera goes with MotionCtrl-SVD; this checkpoint (svd_xt) takes none"),
    ):
        assert main([*words, *more]) == REFUSED
        assert message in capsys.readouterr().err
