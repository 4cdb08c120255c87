"""Skip guidance and attention over time with the built-in model: options, ways, memory, and refusals."""

import numpy as np
import pytest
import torch
from PIL import Image

from stillmotion import builtin_model
from stillmotion.clips import needs
from stillmotion.clips.choices import USUAL_SKIPPED
from stillmotion.clips.settings import Settings
from stillmotion.headless import Pipeline, read_metadata
from stillmotion.headless.command_line import OK, REFUSED, main
from stillmotion.headless.pipeline import Clip

SIZES = {"width": 64, "height": 64, "steps": 2, "num_frames": 4}
STG = {"skip_guidance": (2, 0.5), "guidance_rescale": 0.7}
PICTURE = Image.radial_gradient("L").convert("RGB")


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(builtin_model.load(), "cpu", "float32")


def animated(pipeline: Pipeline, settings: dict, **pictures) -> Clip:
    return pipeline.animate(PICTURE, {**SIZES, **settings}, **pictures)


@pytest.mark.parametrize(
    ("way", "pictures"),
    [
        ({}, {}),
        ({"num_frames": 7, "chunk": 4, "overlap": 1}, {}),
        ({"num_frames": 7, "chunk": 4, "overlap": 1, "long": "windows"}, {}),
        ({"loop": "shift"}, {}),
        ({"between": "trf"}, {"end_frame": PICTURE.rotate(90)}),
    ],
    ids=["one run", "chain", "windows", "ring", "end frame"],
)
def test_every_way_takes_them_and_off_is_the_plain_clip(pipeline, way, pictures):
    plain = animated(pipeline, way, **pictures)
    off = animated(pipeline, {**way, "skip_guidance": (0, 0), "temporal_sharpness": 1}, **pictures)
    assert torch.equal(off.latents, plain.latents) and np.array_equal(off.frames, plain.frames)
    low_pass = {"low_pass": 0.4, "low_pass_until": 1}
    for chosen in (STG, {"temporal_sharpness": 1.3}, {"temporal_positions": 3}, low_pass):
        clip = animated(pipeline, {**way, **chosen}, **pictures)
        assert clip.latents.isfinite().all() and not torch.equal(clip.latents, plain.latents)


def test_memory_counts_the_branches_that_go_together(pipeline, monkeypatch):
    asked, to_sample = [], needs.to_sample

    def counted(*inputs, **options):
        asked.append((*inputs[4:6], inputs[7]))
        return to_sample(*inputs, **options)

    monkeypatch.setattr(needs, "to_sample", counted)
    for settings in ({}, STG, {**STG, "feature_cache": 2}, {"skip_guidance": (1, 0), "feature_cache": 2}):
        animated(pipeline, {**settings, "steps": 1})
    places = [place.name for place in pipeline.checkpoint.unet.params.places()]
    fork = min(map(places.index, USUAL_SKIPPED))
    assert asked == [(2, 0, None), (2, 0, fork), (2, 2, fork), (2, 2, fork)]


def test_layers_of_another_network_are_refused_with_its_own(pipeline):
    names = pipeline.checkpoint.unet.params.attention_names
    with pytest.raises(ValueError, match=f"skip_layers has u8; .* are {', '.join(names)}"):
        pipeline.plan(Settings(skip_guidance=(1, 1), skip_layers="u8"))


class TestCommand:
    @pytest.fixture(autouse=True)
    def place(self, tmp_path, monkeypatch):
        PICTURE.save(tmp_path / "photo.png")
        monkeypatch.chdir(tmp_path)
        return tmp_path

    @staticmethod
    def run(*words: str) -> int:
        size = ("--width", "64", "--height", "64", "--frames", "4", "--steps", "2", "--device", "cpu")
        return main(["animate", "photo.png", *size, *words])

    def test_options_are_the_settings_and_stay_in_the_file(self, place, pipeline):
        words = ("--skip-guidance", "2", "-0.5", "--skip-layers", "u0,m0", "--guidance-rescale", "0.7")
        words += ("--temporal-sharpness", "1.2", "--temporal-positions", "9", "--skip-interval", "0.1", "100")
        words += ("--low-pass", "0.4", "--low-pass-until", "20")
        assert self.run(*words, "--output", "frames") == OK
        notes = read_metadata(place / "frames")
        chosen = {
            "skip_guidance": [2, -0.5],
            "skip_layers": ["u0", "m0"],
            "guidance_rescale": 0.7,
            "temporal_sharpness": 1.2,
            "temporal_positions": 9,
            "skip_interval": [0.1, 100],
            "low_pass": 0.4,
            "low_pass_until": 20,
        }
        assert {name: notes[name] for name in chosen} == chosen

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--skip-guidance", "2"), "--skip-guidance"),
            (("--skip-guidance", "2", "much"), "'much' is no number"),
            (("--skip-layers", "u0"), "skip_layers can't go without skip_guidance"),
            (("--skip-guidance", "1", "1", "--skip-layers", "u8"), "skip_layers has u8"),
            (("--skip-guidance", "1", "nan"), "skip_guidance is (1.0, nan)"),
            (("--low-pass-until", "9"), "low_pass_until can't go without low_pass"),
        ],
    )
    def test_mistakes_are_refused_before_any_work(self, place, capsys, words, said):
        assert self.run(*words, "--output", "frames") == REFUSED
        assert said in capsys.readouterr().err
        assert not (place / "frames").exists()
