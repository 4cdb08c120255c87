"""Clips between pictures and loops, by the Python API and the command, on small networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion import builtin_model
from stillmotion.clips import needs
from stillmotion.clips.run import BETWEEN
from stillmotion.clips.settings import Settings
from stillmotion.headless import Pipeline, read_metadata
from stillmotion.headless.command_line import INTERRUPTED, OK, REFUSED, main
from stillmotion.headless.engine import local
from stillmotion.headless.files import latents
from stillmotion.headless.files.images import ImageError
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.networks.vae import LATENT_SCALE
from support import checkpoints, tiny

QUICK = Settings(num_frames=4, width=64, height=64, steps=2)
WORDS = ("--width", "64", "--height", "64", "--steps", "2")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return checkpoints.write(tmp_path_factory.mktemp("between") / "tiny.safetensors", sizes=tiny.SMALL)


@pytest.fixture(scope="module")
def pipeline(file):
    return Pipeline(Checkpoint.open(file), device="cpu")


def picture(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("photo", "middle", "last")):
        picture(number).save(f"{name}.png")
    return tmp_path


def animate(file, *words) -> int:
    return main(["animate", *map(str, words), "--checkpoint", str(file), *WORDS])


def latent(pipeline, image, settings=QUICK):
    """What a sampled frame of a picture should be, on the CPU."""
    return pipeline.encode_pictures(pipeline.prepare(image, settings)).cpu() * LATENT_SCALE


@pytest.mark.parametrize("method", BETWEEN)
def test_both_ends_are_the_pictures_latents(pipeline, method):
    settings = replace(QUICK, between=method, steps=7)
    clip = pipeline.animate(picture(0), settings, end_frame=picture(2))
    assert torch.equal(clip.latents[:1], latent(pipeline, picture(0)))
    assert torch.equal(clip.latents[-1:], latent(pipeline, picture(2)))
    assert clip.latents.isfinite().all() and clip.frames.shape == (4, 64, 64, 3)


def test_an_end_decoded_alone_is_the_pictures_round_trip(pipeline):
    settings = replace(QUICK, frame_wise_decode=True)
    clip = pipeline.animate(picture(0), settings, end_frame=picture(2))
    for frame, image in ((0, picture(0)), (-1, picture(2))):
        trip = pipeline.decode(latent(pipeline, image), frame_wise=True)
        expected = ((trip[0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).round().numpy()
        assert np.abs(clip.frames[frame] - expected).max() <= 1


def test_keyframes_are_their_pictures_latents(pipeline, caplog):
    settings = replace(QUICK, num_frames=None)
    clip = pipeline.animate(picture(0), settings, keyframes={5: picture(1), np.int64(2): picture(2)})
    assert len(clip.latents) == 6 and clip.settings.num_frames == 6
    assert caplog.text.count("the networks know 7 to 31") == 2
    for frame, seed in ((0, 0), (2, 2), (5, 1)):
        assert torch.equal(clip.latents[frame], latent(pipeline, picture(seed))[0])


def test_an_end_picture_of_another_shape_is_fitted_as_the_first(pipeline):
    wide = picture(2, (200, 90))
    clip = pipeline.animate(picture(0), replace(QUICK, fit="stretch"), end_frame=wide)
    assert torch.equal(clip.latents[-1:], latent(pipeline, wide, replace(QUICK, fit="stretch")))


def test_a_pinned_loop_begins_with_the_picture(pipeline):
    clip = pipeline.animate(picture(0), replace(QUICK, loop="pinned"))
    assert torch.equal(clip.latents[:1], latent(pipeline, picture(0)))
    assert len(clip.frames) == 4 and clip.settings.ring


def test_a_feature_cache_keeps_features_of_each_end_apart(pipeline):
    """In a single step each end is evaluated once, and its first evaluation is exact."""
    settings = replace(QUICK, between="vibid", steps=1)
    exact, cached = (
        pipeline.animate(picture(0), replace(settings, feature_cache=every), end_frame=picture(2))
        for every in (1, 2)
    )
    assert torch.equal(cached.latents, exact.latents)


@pytest.mark.parametrize("loop", ["pinned", "shift"])
def test_the_seam_of_a_loop_is_no_larger_than_its_largest_step(loop):
    """On the built-in model, whose camera pans: a plain clip jumps back where it ends."""
    pipeline = Pipeline(builtin_model.load(), device="cpu")
    image = Image.open(builtin_model.PATH.parent.parent / "assets" / "rocket.jpg")
    clip = pipeline.animate(image, Settings(loop=loop, steps=5))
    frames = clip.frames.astype(np.float64)
    steps = np.sqrt(((np.roll(frames, -1, axis=0) - frames) ** 2).mean(axis=(1, 2, 3)))
    assert steps[-1] <= steps[:-1].max()


def test_noise_of_the_callers_is_refused_between_pictures_and_not_in_a_shifted_loop(pipeline):
    noise = torch.zeros(4, 4, 8, 8)
    with pytest.raises(ValueError, match="noise goes with a clip of one picture"):
        pipeline.animate(picture(0), QUICK, noise, end_frame=picture(2))
    with pytest.raises(ValueError, match="noise goes with a clip of one picture"):
        pipeline.animate(picture(0), replace(QUICK, loop="pinned"), noise)
    assert len(pipeline.animate(picture(0), replace(QUICK, loop="shift"), noise).frames) == 4


def test_a_single_run_of_a_loop_is_refused(pipeline):
    settings = replace(QUICK, loop="shift")
    with pytest.raises(ValueError, match="animate makes loops"):
        pipeline.sample(pipeline.encode(pipeline.prepare(picture(0), settings), settings), settings)


def test_memory_counts_the_kept_features_of_both_ends(pipeline, monkeypatch):
    asked, to_sample = [], needs.to_sample

    def counted(*inputs, **options):
        asked.append(inputs[5])
        return to_sample(*inputs, **options)

    monkeypatch.setattr(needs, "to_sample", counted)
    for every, end in ((1, 2), (2, 2), (2, None)):
        settings = replace(QUICK, feature_cache=every, steps=1)
        pipeline.animate(picture(0), settings, end_frame=None if end is None else picture(end))
    assert asked == [0, 2, 1]


def test_an_unreadable_picture_is_named_before_any_work(pipeline, monkeypatch):
    monkeypatch.setattr(pipeline, "perform", lambda step: pytest.fail("work has begun"))
    with pytest.raises(ImageError, match="the end frame: nowhere"):
        pipeline.animate(picture(0), QUICK, end_frame="nowhere.png")
    with pytest.raises(ImageError, match="keyframe 3: the picture is a float"):
        pipeline.animate(picture(0), QUICK, keyframes={3: 0.5})
    with pytest.raises(ValueError, match="frames 0 and 1"):
        pipeline.animate(picture(0), replace(QUICK, num_frames=None), keyframes={1: picture(1)})
    with pytest.raises(ValueError, match="keyframes is a list; give a dict"):
        pipeline.animate(picture(0), QUICK, keyframes=[picture(1)])


class TestCommand:
    def test_it_writes_the_clip_of_the_python_api_and_names_its_pictures(self, place, file, pipeline):
        words = ("--keyframe", "5=last.png", "--keyframe", "2=middle.png", "--between", "vibid")
        save = ("--output", "frames", "--save-latents", "l.safetensors")
        assert animate(file, "photo.png", *words, *save) == OK
        settings = replace(QUICK, num_frames=None, between="vibid")
        clip = pipeline.animate(picture(0), settings, keyframes={2: picture(1), 5: picture(2)})
        assert torch.equal(latents.read(place / "l.safetensors").latents, clip.latents)
        notes = read_metadata(place / "frames")
        assert notes["keyframes"] == {"2": "middle.png", "5": "last.png"} and "end_frame" not in notes
        assert (notes["between"], notes["num_frames"]) == ("vibid", 6)

    def test_a_mistake_names_the_option_and_no_part_of_a_file(self, place, file, capsys):
        assert animate(file, "photo.png", "--keyframe", "5=last.png", "--frames", "9") == REFUSED
        assert animate(file, "photo.png", "--end-frame", "num_frames.png") == REFUSED
        error = capsys.readouterr().err
        assert "--frames is 9, and the clip ends at its keyframe 5: leave --frames out" in error
        assert "num_frames.png: there is no such file" in error

    def test_several_images_end_on_one_picture(self, place, file, capsys):
        words = ("--end-frame", "last.png", "--frames", "4", "--output", "{name}")
        assert animate(file, "photo.png", "middle.png", *words) == OK
        assert read_metadata(place / "photo")["end_frame"] == "last.png"
        error = capsys.readouterr().err
        assert "from frame 0 to frame 3 there are 4 frames; the networks know 7 to 31" in error
        assert (place / "middle" / "frame_0003.png").exists()

    @pytest.mark.parametrize(
        ("words", "loop"),
        [
            (("--loop", "photo.png"), "pinned"),
            (("photo.png", "--loop"), "pinned"),
            (("--loop", "pinned", "photo.png"), "pinned"),
            (("photo.png", "--loop", "shift"), "shift"),
            (("--loop=shift", "photo.png"), "shift"),
        ],
    )
    def test_a_loop_may_stand_alone(self, place, file, words, loop):
        assert animate(file, *words, "--frames", "3", "--output", "frames") == OK
        notes = read_metadata(place / "frames")
        assert notes["loop"] == loop and notes["ring"] is True

    def test_a_loop_is_decoded_later_as_one(self, place, file):
        words = ("photo.png", "--loop", "--frames", "3", "--save-latents", "l.safetensors")
        assert animate(file, *words, "--output", "now") == OK
        assert (
            main(
                [
                    "animate",
                    "--decode-latents",
                    "l.safetensors",
                    "--checkpoint",
                    str(file),
                    "--output",
                    "later",
                ]
            )
            == OK
        )
        now, later = (np.asarray(Image.open(place / name / "frame_0002.png")) for name in ("now", "later"))
        assert np.array_equal(now, later)

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (("--keyframe", "5=last.png", "--keyframe", "5=last.png"), "--keyframe names frame 5 2 times"),
            (("--keyframe", "last.png"), "'last.png' is no frame and picture such as 24=photo.png"),
            (("--keyframe", "5="), "the name is empty"),
            (("--keyframe", "5=lost.png"), "lost.png: there is no such file"),
            (("--end-frame", "lats.png"), "did you mean last.png?"),
            (("--end-frame", "https://a.b/c.png"), "does not use the network"),
            (("--end-frame", "."), "the end frame: . is a folder"),
            (("--loop", "--end-frame", "last.png"), "loop is pinned, which ends where it begins"),
            (("--loop", "shfit"), "loop is 'shfit'; accepted are pinned, shift"),
        ],
    )
    def test_mistakes_are_said_before_any_work(self, place, file, capsys, words, sentence):
        assert animate(file, "photo.png", *words, "--output", "frames") == REFUSED
        error = capsys.readouterr().err
        assert sentence in error and "mistakes" not in error and not (place / "frames").exists()

    @pytest.mark.parametrize("words", [("--end-frame", "last.png"), ("--keyframe", "9=last.png")])
    def test_pictures_are_inputs_that_stay(self, place, file, capsys, words):
        content = (place / "last.png").read_bytes()
        assert animate(file, "photo.png", *words, "--output", "last.png", "--overwrite") == REFUSED
        assert "last.png" in capsys.readouterr().err and (place / "last.png").read_bytes() == content

    def test_pictures_go_with_an_image_only(self, place, file, capsys):
        latents.save(place / "l.safetensors", torch.zeros(2, 4, 8, 8), {"checkpoint": "tiny.safetensors"})
        words = ["animate", "--decode-latents", "l.safetensors", "--end-frame", "last.png", "--output", "f"]
        assert main([*words, "--checkpoint", str(file)]) == REFUSED
        assert "--end-frame can't go with --decode-latents" in capsys.readouterr().err

    def test_it_stops_within_a_step(self, place, file, capsys, monkeypatch):
        calls = []

        def interrupted(*inputs):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return estimates(*inputs)

        estimates = local.Evaluator._estimates
        monkeypatch.setattr(local.Evaluator, "_estimates", interrupted)
        words = (
            "--end-frame",
            "last.png",
            "--frames",
            "3",
            "--output",
            "frames",
            "--save-latents",
            "l.safetensors",
        )
        assert animate(file, "photo.png", *words) == INTERRUPTED
        assert "stopped" in capsys.readouterr().err
        assert sorted(path.name for path in place.iterdir()) == ["last.png", "middle.png", "photo.png"]
