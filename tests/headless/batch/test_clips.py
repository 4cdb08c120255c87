"""The content key: what a clip depends on changes it, and nothing else does."""

import contextlib
import dataclasses
import math
from argparse import Namespace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillmotion.clips.settings import FIELDS, Settings
from stillmotion.headless.batch.clips import ClipJob, Common, dtypes_of, weights_of
from stillmotion.headless.batch.rows import Row, canonical, row_of
from stillmotion.headless.pipeline import Pipeline
from stillmotion.svd_model.adapters.lora import Applied, LoRA, Strengths
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.variants import SVD_XT
from support import checkpoints, exvideo_files, lora_files, tiny

PICTURE = "ab" * 32
WEIGHTS = {"checkpoint": ["cd" * 32]}
DTYPES = {"dtype": "float32", "decode_dtype": "float32", "linear_dtype": None}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return checkpoints.write(folder / "tiny.safetensors", "svd", sizes=tiny.SMALL)


def common(options=None, **changes) -> Common:
    content = Common(Namespace(**(options or {})), WEIGHTS, DTYPES, ".mp4", True, "0")
    return dataclasses.replace(content, **changes)


def test_every_setting_and_all_else_that_a_clip_depends_on_changes_the_key(checkpoint):
    plain = Settings().complete(Checkpoint.open(checkpoint).variant)
    keys = [common().key(plain, PICTURE), common().key(plain, "cd" * 32)]
    changes = [
        {"weights": {"checkpoint": ["ef" * 32]}},
        {"weights": {**WEIGHTS, "vae": ["ef" * 32]}},
        {"weights": {**WEIGHTS, "loras": [["ef" * 32, 1.0, 1.0]]}},
        {"weights": {**WEIGHTS, "loras": [["ef" * 32, 1.0, 0.5]]}},
        *({"dtypes": {**DTYPES, name: "bfloat16"}} for name in DTYPES),
        {"extension": ".webp"},
        {"metadata": False},
    ]
    keys += [common(**change).key(plain, PICTURE) for change in changes]
    for name in FIELDS:
        value = getattr(plain, name)
        other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else "another"
        keys.append(common().key(dataclasses.replace(plain, **{name: other}), PICTURE))
    for low, high in ((0, 50), (5, math.inf), (5, 50)):
        interval = dataclasses.replace(plain, guidance_interval=(low, high))
        keys.append(common().key(interval, PICTURE))
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 64 for key in keys)


def test_defaults_names_device_and_budget_are_not_in_the_key(checkpoint):
    def job(options=None, **machine):
        return ClipJob(common(options), partial(_opened, checkpoint, machine), None)

    plain = job()
    key = plain.key(Row("a", "a.png", "/x/a.png"), PICTURE)
    complete = plain._pipeline.plan(None).settings
    for options, chosen in (
        ({"num_frames": complete.num_frames}, {}),
        ({}, {"fps": int(complete.fps), "steps": complete.steps, "seed": 0}),
        ({"device": "cpu", "compile": True, "memory_budget": 5 * 10**9, "workers": 3}, {}),
        ({"seed": 5}, {"seed": 0}),
    ):
        assert job(options).key(Row("b", "b.png", "/y/b.png", None, chosen), PICTURE) == key
    assert job(memory_budget="3GB").key(Row("a"), PICTURE) == key
    with pytest.raises(ValueError, match="width is 100"):
        plain.key(Row("a", settings={"width": 100}), PICTURE)
    with pytest.raises(ValueError, match="control_strength goes with a ControlNet"):
        plain.key(Row("a", settings={"control_strength": 0.5}), PICTURE)


def test_a_worker_with_other_types_and_one_with_too_small_a_part_of_a_gpu_are_refused(checkpoint):
    def job(**machine):
        return ClipJob(
            common(dtypes=machine.pop("dtypes", DTYPES)), partial(_opened, checkpoint, machine), None
        )

    job().check_machine(0.5)
    with pytest.raises(ValueError, match="dtype float32, and the batch has float16; give --dtype"):
        job(dtypes={**DTYPES, "dtype": "float16"}).check_machine(None)
    small = job(memory_budget=10**6)
    small.check_machine(None)  # there rows are refused one by one
    with pytest.raises(ValueError, match="is too small: the memory budget is 1"):
        small.check_machine(0.5)


SCALAR = st.text(max_size=5) | st.integers() | st.floats() | st.booleans() | st.just(10**400)
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), VALUE, min_size=1, max_size=2))
def test_whatever_a_row_says_of_settings_is_a_key_or_a_refusal(chosen):
    row = row_of({"image": "a.png", **chosen}, "line 1")
    with contextlib.suppress(ValueError):
        if not row.fault:
            assert len(common().key(Settings.of(row.settings).complete(SVD_XT), PICTURE)) == 64


def _opened(checkpoint, machine, progress, device):
    return Pipeline.open(checkpoint, progress=progress, device="cpu", **machine)


def test_weights_are_named_by_their_content_and_their_part(checkpoint, tmp_path):
    other = checkpoints.write(tmp_path / "renamed.safetensors", "svd", sizes=tiny.SMALL)
    other.write_bytes(checkpoint.read_bytes())
    plain = weights_of(Checkpoint.open(checkpoint), (), None, lambda *_: None)
    assert weights_of(Checkpoint.open(other), (), None, lambda *_: None) == plain
    parts = [
        weights_of(Checkpoint.open(checkpoint, **{part: other}), (), None, lambda *_: None)
        for part in ("unet", "vae")
    ]
    assert plain not in parts and parts[0] != parts[1]


def test_a_bit_of_any_file_with_weights_changes_its_name(checkpoint, tmp_path):
    """Also of a LoRA and of ExVideo's blocks, and a LoRA's strengths."""
    unet = Checkpoint.open(checkpoint).unet.expected
    lora = lora_files.write(tmp_path / "lora.safetensors", lora_files.random_pairs(unet, "attn1.to_q"))
    exvideo = exvideo_files.write(tmp_path / "exvideo.safetensors")
    own = tmp_path / "own.safetensors"
    own.write_bytes(checkpoint.read_bytes())

    def found(strength=1.0) -> dict:
        opened = Checkpoint.open(own)
        applied = Applied(LoRA.open(lora, opened.unet.expected), Strengths(strength, 1.0))
        return weights_of(opened, (applied,), exvideo, lambda *_: None)

    names = [found(), found(0.5)]
    for file in (own, lora, exvideo):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        names.append(found())
    assert len({canonical(each) for each in names}) == 5


def test_canonical_json_has_one_spelling_of_a_number():
    assert canonical({"b": 6.0, "a": [0.5, math.inf, True, None]}) == '{"a":[0.5,"inf",true,null],"b":6}'


def test_dtypes_are_named(checkpoint):
    pipeline = Pipeline.open(checkpoint, device="cpu", dtype="bfloat16")
    assert dtypes_of(pipeline) == {"dtype": "bfloat16", "decode_dtype": "float32", "linear_dtype": None}
