"""References on the command line and in Python, against tokens that are put together by hand."""

import json
import math
from argparse import ArgumentTypeError

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion.headless import Pipeline, read_metadata
from stillmotion.headless.command_line import OK, REFUSED, main
from stillmotion.headless.files import latents as files
from stillmotion.headless.values import reference
from support import checkpoints, tiny

QUICK = {"num_frames": 3, "width": 64, "height": 64, "steps": 2, "seed": 1}
OPTIONS = ("--frames", "3", "--width", "64", "--height", "64", "--steps", "2", "--seed", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    checkpoints.write(folder / "tiny.safetensors", sizes=tiny.SMALL)
    for seed, name in enumerate(("own.png", "red.png", "sea.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    mask = np.zeros((64, 96), dtype=np.uint8)
    mask[:, :48] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(mask * 0).save(folder / "black.png")
    return folder


@pytest.fixture(scope="module")
def pipeline(folder):
    return Pipeline.open(folder / "tiny.safetensors", device="cpu")


def latents(pipeline, folder, **more):
    return pipeline.animate(folder / "own.png", QUICK, **more).latents


def test_weights_sum_tokens_exactly(pipeline, folder):
    names = ("own.png", "red.png", "sea.png")
    own, red, sea = (pipeline.encode(pipeline.prepare(folder / name, QUICK), QUICK) for name in names)
    token = 0.2 * own.context + 0.5 * red.context + 0.3 * sea.context
    expected = pipeline.sample(type(own)(token, own.concat, own.vector), QUICK)
    chosen = [(folder / "red.png", 0.5), (str(folder / "sea.png"), 0.3)]
    found = latents(pipeline, folder, references=chosen)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (found - latents(pipeline, folder)).abs().max() > 1e-3 * expected.abs().max()


def test_the_own_picture_and_nothing_change_nothing(pipeline, folder):
    plain = latents(pipeline, folder)
    assert torch.equal(latents(pipeline, folder, references=[folder / "own.png"]), plain)
    assert torch.equal(latents(pipeline, folder, references=[]), plain)


def test_a_white_mask_is_no_mask_and_half_of_it_is_a_third_clip(pipeline, folder):
    chosen = {"references": [(folder / "red.png", 0.8)]}
    everywhere, plain = latents(pipeline, folder, **chosen), latents(pipeline, folder)
    white = latents(pipeline, folder, **chosen, reference_mask=Image.new("RGB", (96, 64), "white"))
    assert (white - everywhere).abs().max() < 1e-3 * (everywhere - plain).abs().max()
    half = latents(pipeline, folder, **chosen, reference_mask=folder / "mask.png")
    left, right = (half - plain).abs()[..., :4].mean(), (half - plain).abs()[..., 4:].mean()
    assert left > right > 0


def test_branches_without_attention_and_windows_have_places_too(pipeline, folder):
    chosen = {"references": [(folder / "red.png", 0.8)], "reference_mask": folder / "mask.png"}
    for more in (
        {"skip_guidance": (1.0, 0.5)},
        {"num_frames": 5, "chunk": 3, "long": "windows", "overlap": 1},
    ):
        found = pipeline.animate(folder / "own.png", {**QUICK, **more}, **chosen).latents
        assert found.isfinite().all()
        assert not torch.equal(found, pipeline.animate(folder / "own.png", {**QUICK, **more}).latents)


def test_the_command_takes_them_and_notes_them(pipeline, folder, tmp_path):
    out, kept = tmp_path / "clip.png", tmp_path / "clip.safetensors"
    words = ["--reference", f"{folder / 'red.png'}:0.5", "--reference", str(folder / "sea.png")]
    words += ["--reference-mask", str(folder / "mask.png"), "--output", str(out), "--save-latents", str(kept)]
    command = ["animate", str(folder / "own.png"), "--checkpoint", str(folder / "tiny.safetensors"), *OPTIONS]
    assert main([*command, *words]) == OK
    notes = read_metadata(out)
    assert notes["references"] == [{"file": "red.png", "weight": 0.5}, {"file": "sea.png", "weight": 1.0}]
    assert notes["reference_mask"] == "mask.png" and str(folder) not in json.dumps(notes)
    chosen = [(folder / "red.png", 0.5), folder / "sea.png"]
    mask = folder / "mask.png"
    assert torch.equal(
        files.read(kept).latents, latents(pipeline, folder, references=chosen, reference_mask=mask)
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reference", "{f}/red.png:3"], "the weight is 3.0; it must be a number from -2 to 2"),
        (["--reference", "{f}/red.png:much"], "is no picture, nor"),
        (["--reference", "{f}/none.png"], "none.png"),
        (["--reference", "{f}/tiny.safetensors"], "reference 1"),
        (["--reference-mask", "{f}/mask.png"], "says where references count"),
        (["--reference", "{f}/red.png", "--reference-mask", "{f}/black.png"], "the reference mask is black"),
    ],
    ids=str,
)
def test_mistakes_are_said_in_words(folder, words, message, capsys, tmp_path):
    command = ["animate", str(folder / "own.png"), *OPTIONS, "--output", str(tmp_path / "clip.png")]
    assert main([*command, *(word.format(f=folder) for word in words)]) == REFUSED
    assert message in capsys.readouterr().err


def test_python_callers_are_told_what_to_give(pipeline, folder):
    for chosen, message in (
        ("red.png", "references is a str; give a list"),
        ([(folder / "red.png", math.nan)], "the weight of reference 1"),
        ([(folder / "red.png",)], "a tuple of 1"),
        ([folder / "red.png"] * 17, "17 references; give 16"),
    ):
        with pytest.raises(ValueError, match=message):
            latents(pipeline, folder, references=chosen)


def test_colons_of_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:2").write_bytes(b"")
    assert reference("a:2") == ("a:2", 1.0) and reference("a:2:0.5") == ("a:2", 0.5)
    assert reference("C:\\pictures\\sea.png:-1") == ("C:\\pictures\\sea.png", -1.0)
    assert reference("C:\\pictures\\sea.png") == ("C:\\pictures\\sea.png", 1.0)
    with pytest.raises(ArgumentTypeError, match="empty"):
        reference("")
