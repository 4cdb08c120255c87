"""The Python API as its callers use it: pictures, settings, noise, options and frames of whatever kind."""

import functools
import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion.clips.recipes import Decode
from stillmotion.headless import Pipeline, Settings, write_video
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.sources import TensorFile
from support import checkpoints, tiny

SHORT = {"num_frames": 2, "width": 64, "height": 64, "steps": 1}


@functools.cache
def checkpoint() -> Checkpoint:
    content = checkpoints.tensors("svd", sizes=tiny.SMALL)
    return Checkpoint(TensorFile.of_tensors(Path("svd.safetensors"), content))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(checkpoint(), "cpu")


@pytest.fixture
def file(tmp_path) -> Path:
    """A picture that lies on its side, with transparency."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (80, 96, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png", exif=exif)
    return tmp_path / "p.png"


def test_a_picture_may_come_in_any_way(pipeline, file):
    settings = Settings(**SHORT).complete(pipeline.checkpoint.variant)
    expected = pipeline.prepare(file, settings)
    upright = Image.open(file).transpose(Image.Transpose.ROTATE_270)
    pixels = np.asarray(upright)
    for picture in (
        str(file),
        file.read_bytes(),
        io.BytesIO(file.read_bytes()),
        Image.open(file),
        pixels,
        pixels.astype(np.float32) / 255,
        torch.from_numpy(pixels.copy()),
        torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255,
    ):
        assert torch.equal(pipeline.prepare(picture, settings), expected), type(picture)


def test_a_clip_takes_settings_in_a_dict(pipeline, file):
    clip = pipeline.animate(file, {**SHORT, "seed": np.int64(5)})
    assert clip.frames.tobytes() == pipeline.animate(file, Settings(**SHORT, seed=5)).frames.tobytes()
    with pytest.raises(ValueError, match="'sede' is no setting; there are num_frames"):
        pipeline.animate(file, {**SHORT, "sede": 5})
    with pytest.raises(ValueError, match="settings is 5; give Settings"):
        pipeline.animate(file, 5)


def test_noise_may_be_of_any_kind(pipeline, file):
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = pipeline.animate(file, SHORT, noise)
    for other in (noise.double(), noise.numpy(), noise.tolist(), noise.clone().requires_grad_()):
        clip = pipeline.animate(file, SHORT, other)
        assert torch.equal(clip.latents, expected.latents)
        assert clip.latents.dtype == torch.float32


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (torch.zeros(4, 8, 8), r"noise has shape \(4, 8, 8\); these settings need \(2, 4, 8, 8\)"),
        (torch.full((2, 4, 8, 8), torch.nan), "noise holds NaN or infinity"),
        ("seed", "noise is a str; give a tensor or an array of numbers"),
        ({}, "noise is a dict; give a tensor or an array of numbers"),
    ],
)
def test_other_noise_is_refused(pipeline, file, noise, words):
    with pytest.raises(ValueError, match=words):
        pipeline.animate(file, SHORT, noise)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": 1.5}, "device 1.5 can't be used here; try cpu, cuda, mps, xpu"),
        ({"device": "meta"}, "device meta can't be used here; try cpu, cuda, mps, xpu"),
        ({"dtype": torch.float64}, "dtype is torch.float64; accepted are float32, float16, bfloat16"),
        ({"dtype": torch.int8}, "dtype is torch.int8; accepted are float32, float16, bfloat16"),
        ({"dtype": np.float32}, "dtype is <class 'numpy.float32'>; accepted are float32, float16, bfloat16"),
        ({"decode_dtype": None}, "decode_dtype is None; accepted are float32, bfloat16"),
        ({"decode_dtype": torch.float16}, "decode_dtype is torch.float16; accepted are float32, bfloat16"),
        ({"memory_budget": "much"}, "'much' is no size; give one such as 6GB"),
        ({"memory_budget": [1]}, r"the memory budget is \[1\]; give bytes, or text such as '6GB'"),
        ({"scratch_folder": "/nowhere/to/be/found"}, "scratch_folder is '/nowhere/to/be/found', which is no"),
        ({"scratch_folder": ""}, "scratch_folder is '', which is no folder"),
    ],
)
def test_other_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Pipeline(checkpoint(), **{"device": "cpu", **options})


class PathLike:
    """Names a file as os.PathLike does."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


def test_a_path_may_be_whatever_names_a_file(tmp_path, file):
    path = checkpoints.write(tmp_path / "svd.safetensors", sizes=tiny.SMALL)
    opened = Pipeline.open(PathLike(path), device="cpu")
    settings = Settings(**SHORT).complete(opened.checkpoint.variant)
    assert torch.equal(opened.prepare(PathLike(file), settings), opened.prepare(file, settings))
    write_video(PathLike(tmp_path / "out.png"), np.zeros((2, 64, 64, 3), np.uint8), 6)
    assert (tmp_path / "out.png").exists()


FRAMES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "frames",
    [
        FRAMES,
        list(FRAMES),
        tuple(FRAMES),
        torch.from_numpy(FRAMES),
        list(torch.from_numpy(FRAMES)),
        [Image.fromarray(frame) for frame in FRAMES],
        (frame for frame in FRAMES),
    ],
    ids=["array", "list", "tuple", "tensor", "tensors", "pictures", "generator"],
)
def test_frames_to_write_may_be_of_any_kind(tmp_path, frames):
    write_video(tmp_path / "out.png", frames, 6)
    with Image.open(tmp_path / "out.png") as written:
        for index, frame in enumerate(FRAMES):
            written.seek(index)
            np.testing.assert_array_equal(np.asarray(written.convert("RGB")), frame)


@pytest.mark.parametrize(
    "fps",
    [
        Fraction(30000, 1001),
        30000 / 1001,
        np.float64(30000 / 1001),
        torch.tensor(30000 / 1001, dtype=torch.float64),
    ],
)
def test_a_rate_may_be_of_any_kind(tmp_path, fps):
    write_video(tmp_path / "out.mp4", FRAMES, fps)

    with av.open(str(tmp_path / "out.mp4")) as written:
        assert written.streams.video[0].average_rate == Fraction(30000, 1001)


@pytest.mark.parametrize("fps", [True, np.bool_(True), "fast", None, float("nan"), 0, [6]])
def test_other_rates_are_refused(tmp_path, fps):
    with pytest.raises(ValueError, match=r"fps: got .*, accepted are frames per second from"):
        write_video(tmp_path / "out.png", FRAMES, fps)


def test_every_step_of_the_way_completes_settings_for_itself(pipeline, file):
    expected = pipeline.animate(file, SHORT)
    settings = Settings(**SHORT)
    picture = pipeline.prepare(file, settings)
    latents = pipeline.sample(pipeline.encode(picture, settings), settings)
    assert torch.equal(latents, expected.latents)
    conditions = pipeline.encode(picture, settings)
    assert torch.equal(pipeline.sample(conditions, settings), expected.latents)
    frames = np.stack(list(pipeline.perform(Decode(latents))))
    assert frames.tobytes() == expected.frames.tobytes()


def test_a_pipeline_of_a_path_is_told_how_to_open_it():
    with pytest.raises(
        ValueError, match=r"checkpoint is 'svd\.safetensors'; give a Checkpoint, or the path to"
    ):
        Pipeline("svd.safetensors")


def test_progress_may_be_none(file):
    assert Pipeline(checkpoint(), "cpu", progress=None).animate(file, SHORT).frames.shape == (2, 64, 64, 3)
