"""The picture itself as the first frame, through the Python API and the command; bytes without it stay."""

import numpy as np
import pytest
from PIL import Image

from stillmotion.headless import Pipeline, Settings, read_metadata
from stillmotion.headless.command_line import OK, REFUSED, main
from stillmotion.headless.files.images import to_uint8
from support import checkpoints, tiny

QUICK = {"num_frames": 3, "width": 64, "height": 64, "steps": 1}
OPTIONS = ("--frames", "3", "--width", "64", "--height", "64", "--steps", "1")
EXACT = Settings(keep_first="exact", **QUICK)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return checkpoints.write(tmp_path_factory.mktemp("first") / "tiny.safetensors", sizes=tiny.SMALL)


@pytest.fixture(scope="module")
def pipeline(file):
    return Pipeline.open(file, device="cpu")


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def prepared(pipeline, photo, **settings):
    return to_uint8(pipeline.prepare(photo, Settings(**QUICK, **settings)))[0]


@pytest.mark.parametrize(
    "more", [{"fit": "pad"}, {"fit": "stretch"}, {"ring": True}, {"loop": "pinned", "steps": 2}], ids=str
)
def test_the_first_frame_is_the_picture(pipeline, photo, more):
    settings = {**QUICK, **more}
    plain = pipeline.animate(photo, settings)
    exact = pipeline.animate(photo, {**settings, "keep_first": "exact"})
    fit = {name: value for name, value in more.items() if name == "fit"}
    assert np.array_equal(exact.frames[0], prepared(pipeline, photo, **fit))
    assert not np.array_equal(plain.frames[0], exact.frames[0])
    assert np.array_equal(plain.latents, exact.latents)


def test_a_chain_and_a_clip_with_an_end_begin_with_the_picture(pipeline, photo):
    long = {"num_frames": 5, "chunk": 3, "overlap": 1, "long": "chain"}
    chain = pipeline.animate(photo, {**QUICK, **long, "keep_first": "exact"})
    between = {**QUICK, "num_frames": 7, "steps": 2}
    plain = pipeline.animate(photo, between, end_frame=photo)
    exact = pipeline.animate(photo, {**between, "keep_first": "exact"}, end_frame=photo)
    for frames in (chain.frames, exact.frames):
        assert np.array_equal(frames[0], prepared(pipeline, photo))
    assert np.array_equal(exact.frames[-1], plain.frames[-1])
    assert not np.array_equal(exact.frames[1], plain.frames[1])


def test_the_command_puts_it_and_saved_latents_keep_it(file, photo, pipeline, tmp_path):
    command = ["animate", str(photo), "--checkpoint", str(file), *OPTIONS, "--keep-first", "exact"]
    saved = tmp_path / "latents.safetensors"
    outputs = ["--output", str(tmp_path / "clip"), "--save-latents", str(saved)]
    assert main([*command, *outputs]) == OK
    again = ["--decode-latents", str(saved), "--checkpoint", str(file), "--output", str(tmp_path / "again")]
    assert main(["animate", *again]) == OK
    expected = pipeline.animate(photo, EXACT).frames
    for name in ("clip", "again"):
        files = sorted((tmp_path / name).glob("*.png"))
        assert np.array_equal(np.stack([np.asarray(Image.open(path)) for path in files]), expected)
    assert read_metadata(files[0])["keep_first"] == "exact"


def test_a_loop_without_the_picture_is_refused(photo, capsys):
    assert main(["animate", str(photo), "--keep-first", "exact", "--loop", "shift"]) == REFUSED
    assert "no frame of which is the picture's" in capsys.readouterr().err


def test_a_word_for_how_much_moves_is_noted_as_its_numbers(file, photo, tmp_path):
    out = tmp_path / "clip.png"
    words = (*OPTIONS, "--motion-amount", "most", "--output", str(out))
    assert main(["animate", str(photo), "--checkpoint", str(file), *words]) == OK
    notes = read_metadata(out)
    assert (notes["motion_bucket_id"], notes["sigma_max"]) == (255, 100) and "motion_amount" not in notes
