"""A ControlNet behind the command and the Python API: what it makes, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion.clips import needs
from stillmotion.headless import Pipeline, read_metadata, write_video
from stillmotion.headless.command_line import OK, REFUSED, main
from stillmotion.headless.engine import memory
from stillmotion.headless.engine.fit import Fit
from stillmotion.svd_model.checkpoint import Checkpoint, CheckpointError
from stillmotion.svd_model.checkpoint.controlnet import controlnet_of, open_controlnet
from stillmotion.svd_model.layerwise import NotEnoughMemoryError
from support import checkpoints, controlnets, golden_family, headers, tiny
from support.live_memory import LiveMemory

SMALL = {"num_frames": 3, "width": 128, "height": 64, "steps": 2}
SIZE = (3, 8, 16)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with a checkpoint, a ControlNet, three frames as pictures, and as a video."""
    folder = tmp_path_factory.mktemp("control")
    checkpoints.write(folder / "svd.safetensors", sizes=tiny.SMALL)
    checkpoints.write(folder / "sv3d_u.safetensors", "sv3d_u", sizes=tiny.SMALL)
    (folder / "depth").mkdir()
    controlnets.write(folder / "depth" / controlnets.FILE, tiny.SMALL.unet)
    (folder / "frames").mkdir()
    for number, pixels in enumerate(frames()):
        Image.fromarray(pixels).save(folder / "frames" / f"{number}.png")
    write_video(folder / "frames.mp4", frames(), 6)
    return folder


def frames() -> list[np.ndarray]:
    y, x = np.mgrid[0:64, 0:128]
    return [np.stack([x + 40 * t, 3 * y, 2 * x], axis=-1).astype(np.uint8) for t in range(3)]


@pytest.fixture(scope="module")
def pipeline(files) -> Pipeline:
    return Pipeline.open(files / "svd.safetensors", device="cpu", control=files / "depth")


@pytest.fixture(scope="module")
def plain(files) -> np.ndarray:
    return Pipeline.open(files / "svd.safetensors", device="cpu").animate(frames()[0], SMALL).frames


@pytest.fixture(scope="module")
def controlled(pipeline) -> np.ndarray:
    return pipeline.animate(frames()[0], SMALL, control=frames()).frames


class TestPipeline:
    def test_it_changes_the_clip(self, plain, controlled):
        assert np.abs(plain.astype(int) - controlled).mean() > 2

    def test_without_strength_or_time_or_pictures_it_changes_nothing(self, pipeline, plain):
        for chosen in ({"control_strength": 0}, {"control_start": 1}):
            found = pipeline.animate(frames()[0], SMALL | chosen, control=frames()).frames
            assert np.array_equal(found, plain)
        assert np.array_equal(pipeline.animate(frames()[0], SMALL).frames, plain)

    def test_each_setting_changes_the_clip(self, pipeline, controlled):
        choices = ("control_strength", 0.5), ("control_weighting", "once"), ("control_end", 0.3)
        for name, value in choices:
            found = pipeline.animate(frames()[0], SMALL | {name: value}, control=frames()).frames
            assert np.abs(found.astype(int) - controlled).mean() > 0.05, name

    def test_the_order_of_the_pictures_counts(self, pipeline, controlled):
        found = pipeline.animate(frames()[0], SMALL, control=frames()[::-1]).frames
        assert np.abs(found.astype(int) - controlled).mean() > 0.05

    def test_a_clip_keeps_to_its_budget(self, files, controlled, tmp_path):
        """Rounding to bytes may differ by one."""
        checkpoint = Checkpoint.open(files / "svd.safetensors")
        part = open_controlnet(files / "depth")
        fit = Fit(checkpoint, CPU, torch.float32, torch.float32, control=part)
        needed = fit.needed(SIZE, False)
        options = {"device": "cpu", "control": part, "scratch_folder": tmp_path}
        bounded = Pipeline(checkpoint, memory_budget=needed, **options)
        for _ in range(2):
            with LiveMemory() as live:
                found = bounded.animate(frames()[0], SMALL, control=frames()).frames
            assert np.abs(found.astype(int) - controlled).max() <= 1
            assert live.peak <= 1.05 * (needed - memory.overhead(CPU))
        with pytest.raises(NotEnoughMemoryError):
            Pipeline(checkpoint, memory_budget=needed - 1, **options).animate(
                frames()[0], SMALL, control=frames()
            )

    def test_a_network_of_other_sizes_is_refused(self, files):
        with pytest.raises(CheckpointError, match="vector_dim 768 instead of 256"):
            Pipeline.open(files / "sv3d_u.safetensors", device="cpu", control=files / "depth")

    def test_it_steers_motionctrls_unet_too(self, files):
        path = checkpoints.write(files / "motionctrl.safetensors", "motionctrl_svd", sizes=tiny.SMALL)
        pipeline = Pipeline.open(path, device="cpu", control=files / "depth")
        moving = {**SMALL, "camera": "zoom_in"}
        clips = [
            pipeline.animate(frames()[0], {**moving, **strength}, control=control).frames
            for strength, control in (({}, None), ({"control_strength": 0}, frames()), ({}, frames()))
        ]
        assert np.array_equal(clips[0], clips[1]) and not np.array_equal(clips[0], clips[2])

    def test_pictures_without_a_network_are_refused(self, files):
        alone = Pipeline.open(files / "svd.safetensors", device="cpu")
        with pytest.raises(ValueError, match="without a ControlNet"):
            alone.animate(frames()[0], SMALL, control=frames())

    def test_settings_without_pictures_are_refused(self, pipeline):
        with pytest.raises(ValueError, match="control_strength goes with a ControlNet"):
            pipeline.animate(frames()[0], SMALL | {"control_strength": 0.5})


def test_its_weights_and_what_it_gives_count_in_a_clips_need():
    """Of the real sizes, for 25 frames of 1024×576 in float16: 12 skips and the middle, for both branches."""
    checkpoint = headers.checkpoint(headers.released("svd_xt"))
    control = controlnet_of(headers.file(golden_family.keys("temporal_controlnet")))
    size = (25, 72, 128)
    plain = needs.to_sample(checkpoint, size, torch.float16, CUDA)
    both = needs.to_sample(checkpoint, size, torch.float16, CUDA, control=control)
    assert both.weights - plain.weights == 2 * 682_021_537
    assert both.streamed == plain.streamed
    per_position = 3 * 320 + (320 + 2 * 640) / 4 + (640 + 2 * 1280) / 16 + (3 * 1280 + 1280) / 64
    given = 2 * 2 * 25 * 72 * 128 * (per_position + 320)
    assert both.fastest - plain.fastest == pytest.approx(given, rel=1e-9)


class TestCommand:
    def run(self, files: Path, output: Path, *arguments, checkpoint="svd") -> int:
        size = ["--frames", "3", "--width", "128", "--height", "64", "--steps", "2"]
        picture = ["animate", files / "frames" / "0.png", "--checkpoint", files / f"{checkpoint}.safetensors"]
        return main([str(each) for each in (*picture, "--output", output, *size, *arguments)])

    @pytest.mark.parametrize("given", ["frames", "frames.mp4"])
    def test_a_folder_or_a_video_steers_the_clip(self, files, tmp_path, controlled, given):
        chosen = ("--control", files / "depth", "--control-frames", files / given)
        assert self.run(files, tmp_path / "a.png", *chosen, "--device", "cpu") == OK
        with Image.open(tmp_path / "a.png") as image:
            image.seek(2)
            last = np.asarray(image.convert("RGB")).astype(int)
        assert np.abs(last - controlled[2]).mean() < (0.01 if given == "frames" else 3)
        notes = read_metadata(tmp_path / "a.png")
        assert (notes["control"], notes["control_frames"]) == ("depth", given)
        assert (notes["control_strength"], notes["control_weighting"]) == (1, "author")

    def test_without_one_the_metadata_name_none(self, files, tmp_path):
        assert self.run(files, tmp_path / "a.png", "--device", "cpu") == OK
        assert not [name for name in read_metadata(tmp_path / "a.png") if "control" in name]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--control {}/depth", "--control and --control-frames go together"),
            ("--control-frames {}/frames", "--control and --control-frames go together"),
            ("--control-strength 0.5", "control_strength goes with a ControlNet"),
            ("--control {}/depth --control-frames {}/frames --frames 5", "3 control frames for a clip of 5"),
            ("--control {}/svd.safetensors --control-frames {}/frames", "an SVD checkpoint, not a temporal"),
            ("--control {}/frames --control-frames {}/frames", "is a folder without weights"),
            ("--control {}/dept --control-frames {}/frames", "did you mean depth?"),
            ("--control {}/depth --control-frames {}/depth", "holds no picture"),
            ("--control {}/depth --control-frames {}/frame.mp4", "did you mean frames.mp4?"),
            ("--control https://x.org/a --control-frames {}/frames", "is a URL"),
            ("--control {}/depth --control-frames {}/frames --control-strength 11", "control_strength is 11"),
            ("--control {}/depth --control-frames {}/frames --control-start nan", "control_start is nan"),
            (
                "--control {}/depth --control-frames {}/frames --control-weighting all",
                "accepted are author, once",
            ),
        ],
    )
    def test_what_can_not_be_done_is_said(self, files, tmp_path, capsys, arguments, message):
        words = arguments.replace("{}", str(files)).split()
        assert self.run(files, tmp_path / "a.png", *words) == REFUSED
        said = capsys.readouterr().err
        assert message in said
        assert "Traceback" not in said
        assert not (tmp_path / "a.png").exists()

    def test_another_checkpoints_is_refused(self, files, tmp_path, capsys):
        chosen = ("--control", files / "depth", "--control-frames", files / "frames")
        assert self.run(files, tmp_path / "a.png", *chosen, checkpoint="sv3d_u") == REFUSED
        assert "vector_dim 768 instead of 256" in capsys.readouterr().err

    def test_the_frames_are_not_overwritten(self, files, capsys):
        chosen = ("--control", files / "depth", "--control-frames", files / "frames.mp4", "--overwrite")
        assert self.run(files, files / "frames.mp4", *chosen) == REFUSED
        assert "is read or written already" in capsys.readouterr().err
