"""Makers of the service: the weight of a clip, its progress, and weights that are loaded before it."""

from argparse import Namespace
from functools import partial

import pytest

from stillmotion.headless.batch.clips import Common
from stillmotion.headless.batch.rows import Row
from stillmotion.headless.pipeline import Pipeline
from stillmotion.headless.serve.makers import ClipMaker
from stillmotion.svd_model.checkpoint import Checkpoint
from support import checkpoints, tiny
from support.serving import picture

DTYPES = {"dtype": "float32", "decode_dtype": "float32", "linear_dtype": None}
QUICK = {"num_frames": 2, "width": 64, "height": 64, "steps": 2}


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    """The maker of a tiny svd_xt, of 25 frames of 1024×576 in 30 steps."""
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoint = Checkpoint.open(checkpoints.write(folder / "tiny.safetensors", "svd", sizes=tiny.SMALL))
    common = Common(Namespace(), {"checkpoint": ["cd" * 32]}, DTYPES, ".mp4", True, "0")
    return ClipMaker(common, partial(_opened, checkpoint), "cpu")


def _opened(checkpoint, progress, device):
    return Pipeline(checkpoint, device, progress=progress)


@pytest.mark.parametrize(
    ("settings", "work"),
    [
        ({}, 1),
        ({"steps": 60}, 2),
        ({"width": 512}, 0.5),
        ({"num_frames": 100, "overlap": 6}, 5),
        ({"num_frames": 100, "overlap": 24, "long": "windows"}, 76),  # all but one frame over again
        ({"num_frames": 26, "long": "whole"}, 26 / 25),
    ],
    ids=str,
)
def test_work_is_frames_as_they_are_sampled_times_pixels_times_steps(settings, work, maker):
    assert maker.work(Row("", settings=settings)) == pytest.approx(work)


def test_weights_are_loaded_before_the_first_clip_and_its_progress_is_told(maker):
    maker.load()
    told = []
    write = maker.make(
        Row("", "the picture", settings=QUICK), picture(), bool, lambda *stage: told.append(stage)
    )
    stages = list(dict.fromkeys(stage for stage, *_ in told))
    assert stages == ["sampling", "decoding"] and ("sampling", 2, 2) in told
    assert callable(write)


def test_a_check_ends_the_clip_at_its_next_step(maker):
    steps = []

    def check():
        steps.append(1)
        if len(steps) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        maker.make(Row("", "the picture", settings=QUICK), picture(), check, lambda *_: None)
    assert len(steps) == 2


def test_networks_that_do_not_fit_together_take_turns(maker, monkeypatch):
    def unet(_):
        raise MemoryError("out of memory")

    monkeypatch.setattr(Pipeline, "unet", property(unet))
    maker.load()
    monkeypatch.setattr(Pipeline, "unet", property(lambda _: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        maker.load()
