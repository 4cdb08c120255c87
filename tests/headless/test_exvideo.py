"""ExVideo's file beside a checkpoint: on the command line and in Python."""

import re

import pytest
import torch
from PIL import Image

from stillmotion.clips.contrast import even_contrast
from stillmotion.headless import pipeline
from stillmotion.headless.command_line import REFUSED, main
from stillmotion.headless.engine import local
from stillmotion.headless.files import latents
from stillmotion.headless.files.videos import read_metadata
from stillmotion.svd_model import layerwise
from stillmotion.svd_model.adapters.exvideo import over
from stillmotion.svd_model.checkpoint.sources import TensorFile
from stillmotion.svd_model.networks.pieces import WHOLE
from support import checkpoints, exvideo_files, tiny

FRAMES = exvideo_files.POSITIONS
QUICK = {"width": 64, "height": 64, "steps": 2}
OPTIONS = [word for name, value in QUICK.items() for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exvideo")
    checkpoints.write(folder / "svd_xt.safetensors", sizes=tiny.SMALL)
    exvideo_files.write(folder / "exvideo.safetensors")
    Image.new("RGB", (96, 64), (200, 80, 30)).save(folder / "picture.png")
    return folder


def open_pipeline(folder) -> pipeline.Pipeline:
    return pipeline.Pipeline.open(
        folder / "svd_xt.safetensors", exvideo=folder / "exvideo.safetensors", device="cpu"
    )


def test_the_command_makes_a_clip_with_exvideos_numbers(folder, tmp_path):
    files = ["--checkpoint", folder / "svd_xt.safetensors", "--exvideo", folder / "exvideo.safetensors"]
    outputs = ["--output", tmp_path / "clip.webp", "--save-latents", tmp_path / "latents.safetensors"]
    assert main([str(word) for word in ("animate", folder / "picture.png", *files, *OPTIONS, *outputs)]) == 0
    notes = read_metadata(tmp_path / "clip.webp")
    chosen = {name: notes[name] for name in ("exvideo", "num_frames", "fps", "guidance", "contrast")}
    expected = {"exvideo": "exvideo.safetensors", "num_frames": FRAMES, "fps": 30.0, "contrast": 1.2}
    assert chosen == expected | {"guidance": "constant"}
    clip = open_pipeline(folder).animate(folder / "picture.png", QUICK)
    saved = latents.read(tmp_path / "latents.safetensors").latents
    assert torch.equal(saved, clip.latents)


def test_the_contrast_is_even_before_decoding(folder):
    sampled = open_pipeline(folder)
    conditions = sampled.encode(sampled.prepare(folder / "picture.png", QUICK), QUICK)
    expected = even_contrast(sampled.sample(conditions, QUICK), 1.2)
    assert torch.equal(sampled.animate(folder / "picture.png", QUICK).latents, expected)


@torch.no_grad()
def test_latents_are_the_same_in_little_memory(folder):
    """By the smallest plan of the UNet, in groups of a frame: up to rounding.

    From σ 700 a step would round x, of some 3000, to 2.4e-4, far above what the UNet's float32 makes of it.
    """
    opened, settings = open_pipeline(folder), QUICK | {"width": 128, "sigma_max": 10.0}
    plan = opened.plan(settings)
    run = plan.run(opened.encode(opened.prepare(folder / "picture.png", settings), settings))
    size = (*opened.latent_size(plan), torch.float32, opened.device)
    smallest = layerwise.UNetPlanner(opened.unet.params, len(run.branches), *size).smallest()
    assert smallest.pieces != WHOLE
    whole, least = (
        local.sample(opened.unet, run, torch.float32, opened.device, lambda *_: None, budget)
        for budget in (None, smallest.peak)
    )
    assert (whole - least).abs().max() <= 1e-5 * whole.abs().max()


def test_a_checkpoint_saved_with_the_blocks_in_it_gives_the_clip(folder, tmp_path):
    """As a host saves it: our names are all that the file needs."""
    base, file = (TensorFile.open(folder / f"{name}.safetensors") for name in ("svd_xt", "exvideo"))
    view = over(base, file)
    torch.save({key: view.read(key) for key in view.shapes}, tmp_path / "saved.ckpt")
    saved = pipeline.Pipeline.open(tmp_path / "saved.ckpt", device="cpu")
    expected = open_pipeline(folder).animate(folder / "picture.png", QUICK)
    assert torch.equal(saved.animate(folder / "picture.png", QUICK).latents, expected.latents)


def test_inspect_says_what_the_two_files_make(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["inspect", "svd_xt.safetensors", "--exvideo", "exvideo.safetensors"]) == 0
    report = capsys.readouterr().out
    assert f"exvideo: {FRAMES} frames, 512×512, 50 steps, constant guidance 2 to 2" in report
    assert "verdict      whole" in report and "unexpected" not in report


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--checkpoint", "svd_xt.safetensors", "--frames", "9", "--long", "whole"],
            "--frames is 9; .* takes 2 to 8",
        ),
        (["--checkpoint", "exvideo.safetensors"], "an ExVideo, the temporal blocks of an SVD"),
        ([], "--exvideo goes over svd_xt; name that file with --checkpoint"),
    ],
    ids=["too many frames", "exvideo alone", "without a checkpoint"],
)
def test_what_can_not_be_done_is_said(folder, capsys, monkeypatch, words, message):
    monkeypatch.chdir(folder)
    assert main(["animate", "picture.png", "--exvideo", "exvideo.safetensors", *words]) == REFUSED
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line), line


@pytest.mark.parametrize(
    "name", ["svd_xt.safetensors", "none.safetensors", "picture.png", "https://x/y", "."]
)
def test_another_file_is_refused(folder, capsys, monkeypatch, name):
    monkeypatch.chdir(folder)
    command = ["animate", "picture.png", "--checkpoint", "svd_xt.safetensors", "--exvideo", name]
    assert main(command) == REFUSED
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line and "SVD checkpoint" not in line
    assert main(["inspect", *command[3:]]) == REFUSED
    assert capsys.readouterr().err.splitlines() == [line]
