"""LoRA files in every writer's names, against the reference's numbers and what their formats say."""

import functools
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.func import functional_call

from stillmotion.svd_model.adapters.lora import Delta, LoRA, Strengths, is_temporal
from stillmotion.svd_model.adapters.spellings import modules_by_name
from stillmotion.svd_model.checkpoint import CheckpointError
from stillmotion.svd_model.networks.unet import UNetParams, VideoUNet
from support import golden_family, lora_files

UNET = lora_files.shapes(VideoUNet(golden_family.tiny.UNET, device="meta"))
FULL_SIZE = lora_files.shapes(VideoUNet(UNetParams(), device="meta"))
MODULE = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
KEY = "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
A, B = f"{MODULE}.lora_A.weight", f"{MODULE}.lora_B.weight"


@functools.cache
def attention() -> dict[str, torch.Tensor]:
    return golden_family.weights("tiny_lora_attention", "lora.")


def lora_of(tensors, name="lora.safetensors", **metadata) -> LoRA:
    return LoRA.of(lora_files.of_tensors(tensors, name, **metadata), UNET)


def pair(rank=2, rows=32, columns=32) -> dict[str, torch.Tensor]:
    """The matrices of one module, whose product is 1 everywhere."""
    return {A: torch.ones(rank, columns), B: torch.ones(rows, rank) / rank}


@torch.no_grad()
def run(lora: LoRA, spatial=1.0, temporal=1.0) -> torch.Tensor:
    state = lora_files.state_with(lora, Strengths(spatial, temporal))
    inputs = golden_family.inputs()
    return functional_call(golden_family.unet(), state, (*inputs.values(), golden_family.FRAMES))


def test_golden_family_attention():
    golden_family.check("lora.attention", run(lora_of(attention())))


def test_golden_family_alpha():
    golden_family.check("lora.attention.alpha2", run(lora_of(attention(), lora_alpha=2)))


def test_golden_family_strength():
    golden_family.check("lora.attention.strength0.7", run(lora_of(attention()), 0.7, 0.7))


def test_golden_family_temporal_only():
    golden_family.check("lora.temporal_only", run(lora_of(attention()), spatial=0.0))


def test_golden_family_everything():
    lora = lora_of(golden_family.weights("tiny_lora_everything", "lora."))
    assert lora.found == 1148 / 2
    golden_family.check("lora.everything", run(lora))


@pytest.mark.parametrize("writer", ["comfy", "converted", "diffusers", "peft", "peftmodel"])
def test_every_module_of_a_full_size_file_finds_its_layer(writer):
    keys = golden_family.keys(f"lora_{writer}_r4")
    tensors = {key: torch.empty(shape, device="meta") for key, shape in keys.items()}
    lora = LoRA.of(lora_files.of_tensors(tensors), FULL_SIZE)
    assert (lora.found, lora.without_layer) == (256, ())
    assert lora.report == "lora.safetensors: all 256 modules found their layer."
    assert sum(map(is_temporal, lora.deltas)) == 128


def test_all_writers_give_one_difference():
    expected = lora_of(attention())
    for writer, tensors in lora_files.spellings(attention(), UNET).items():
        lora = lora_of(tensors)
        assert (lora.found, lora.without_layer, set(lora.deltas)) == (256, (), set(expected.deltas)), writer
        for key, delta in lora.deltas.items():
            assert torch.equal(delta.difference(), expected.deltas[key].difference()), (writer, key)


@pytest.mark.parametrize("front", ["module.", "_orig_mod.", "unet._orig_mod.module."])
def test_names_of_compiled_and_of_wrapped_modules_find_their_layer(front):
    inside = {key.replace(".", "._orig_mod.", 1): tensor for key, tensor in pair().items()}
    assert lora_of({front + key: tensor for key, tensor in inside.items()}).deltas.keys() == {KEY}


def test_diffusers_names_are_found_for_every_module():
    """By a table of the tests' own, in both forms; no two modules share a name."""
    names = modules_by_name(UNET)
    for theirs, ours in lora_files.released_names(UNET).items():
        for name in (theirs, ours, theirs.replace(".", "_"), ours.replace(".", "_")):
            assert names[name] == ours
    flat = {name for name in names if "." not in name}
    assert len(flat) == 2 * len(set(names.values()))


@pytest.mark.parametrize(
    ("options", "factor"),
    [
        ({}, 1.0),
        ({"lora_alpha": 8}, 2.0),
        ({"lora_alpha": 8, "use_rslora": True}, 4.0),
        ({"unet.lora_alpha": 8, "unet.r": 16}, 2.0),
        ({"lora_alpha": 8, "alpha_pattern": {MODULE: 2}}, 0.5),
        ({"lora_alpha": 8, "alpha_pattern": {"attn1.to_q": 2}}, 0.5),
        ({"lora_alpha": 8, "alpha_pattern": {"to_k": 2}}, 2.0),
        ({"lora_alpha": 8, "alpha_pattern": {"^attn1.to_q": 2}}, 2.0),
        ({"lora_alpha": 8, "alpha_pattern": {r"down_blocks.*to_q": 2, "to_q": 1}}, 0.5),
    ],
)
def test_the_factor_follows_from_alpha_and_rank(options, factor):
    delta = lora_of(pair(rank=4), **options).deltas[KEY]
    assert delta.difference().unique().item() == pytest.approx(factor)


def test_an_alpha_beside_the_tensors_counts_before_the_options():
    lora = lora_of(pair(rank=4) | {f"{MODULE}.alpha": torch.tensor(2)}, lora_alpha=100)
    assert lora.deltas[KEY].difference().unique().item() == pytest.approx(0.5)


def test_convolutions_of_two_and_three_dimensions():
    """Against torch's convolution by down, then by up."""
    generator = torch.Generator().manual_seed(1)
    for shape in ((6, 5, 3, 3), (6, 5, 3, 1, 1)):
        down = torch.randn((2, *shape[1:]), generator=generator)
        up = torch.randn((6, 2, *(1 for _ in shape[2:])), generator=generator)
        x = torch.randn((1, 5, *(4 for _ in shape[2:])), generator=generator)
        conv = torch.nn.functional.conv2d if len(shape) == 4 else torch.nn.functional.conv3d
        expected = 0.5 * conv(conv(x, down), up)
        found = conv(x, Delta(shape, up, down, 0.5).difference())
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_linear_layer_may_be_a_convolution_of_one_pixel():
    tensors = {key: tensor[..., None, None] for key, tensor in pair().items()}
    assert torch.equal(lora_of(tensors).deltas[KEY].difference(), torch.ones(32, 32))


def test_a_bias_of_up_and_differences_of_weights_and_biases():
    norm, linear = "diffusion_model.out.0", "diffusion_model.time_embed.0"
    up = {f"{linear}.lora_A.weight": torch.ones(1, 32), f"{linear}.lora_B.weight": torch.ones(128, 1)}
    others = {f"{linear}.lora_B.bias": torch.ones(128), f"{norm}.diff": torch.full((32,), 3.0)}
    lora = lora_of(up | others | {f"{norm}.diff_b": torch.full((32,), 4.0)}, lora_alpha=2)
    found = {key: delta.difference().unique().item() for key, delta in lora.deltas.items()}
    assert found == {"time_embed.0.weight": 2, "time_embed.0.bias": 2, "out.0.weight": 3, "out.0.bias": 4}
    assert lora.found == 2


def test_layers_over_time_have_their_own_strength():
    strengths = Strengths(0.5, 2.0)
    temporal = ("time_stack.0.attn1.to_q", "time_pos_embed.0", "time_mixer", "time_stack.in_layers.2")
    spatial = ("transformer_blocks.0.attn1.to_q", "proj_in", "in_layers.2")
    assert {strengths.of(f"input_blocks.1.1.{name}.weight") for name in temporal} == {2.0}
    names = (*(f"input_blocks.1.1.{name}" for name in spatial), "time_embed.0", "label_emb.0.0", "out.2")
    assert {strengths.of(f"{name}.weight") for name in names} == {0.5}


def test_modules_without_a_layer_are_named():
    others = {"text_encoder.layers.0.lora_A.weight": torch.ones(1, 2), "te.scale": torch.ones(1)}
    others["text_encoder.layers.0.lora_B.weight"] = torch.ones(2, 1)
    lora = lora_of(pair() | others)
    assert lora.found == 1
    assert lora.report == (
        "lora.safetensors: 1 of 3 modules found their layer; left out: te.scale, text_encoder.layers.0."
    )


def folder_of_peft(folder, **options):
    save_file(pair(rank=4), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 8, **options}))
    return folder


def test_a_folder_of_peft_and_its_file(tmp_path):
    folder = folder_of_peft(tmp_path, use_rslora=True)
    for path in (folder, folder / "adapter_model.safetensors"):
        assert LoRA.open(path, UNET).deltas[KEY].difference().unique().item() == pytest.approx(4.0)


def test_a_folder_of_diffusers_and_a_file_of_torch(tmp_path):
    torch.save(pair(), tmp_path / "pytorch_lora_weights.bin")
    assert LoRA.open(tmp_path, UNET).found == 1


REFUSED = {
    "LoHa": ({f"{MODULE}.hada_w1_a": torch.ones(2)}, "is a LoHa"),
    "LoKr": ({f"{MODULE}.lokr_w1": torch.ones(2)}, "is a LoKr"),
    "DoRA of kohya": (pair() | {f"{MODULE}.dora_scale": torch.ones(2)}, "is a DoRA"),
    "DoRA of peft": (pair() | {f"{MODULE}.lora_magnitude_vector": torch.ones(2)}, "is a DoRA"),
    "Tucker": (pair() | {f"{MODULE}.lora_mid.weight": torch.ones(2)}, "a LoCon of three factors"),
    "another network": (
        {"text.lora_A.weight": torch.ones(1), "text.lora_B.weight": torch.ones(1)},
        "none of",
    ),
    "no adapter": ({"first_stage_model.encoder.conv_in.weight": torch.ones(1)}, "looks like"),
    "half": ({A: torch.ones(2, 32)}, "without its up part: it is not whole"),
    "another width": (pair(columns=320), r"can't change the UNet's .*attn1.to_q.weight \[32, 32\]"),
    "another rank": ({A: torch.ones(2, 32), B: torch.ones(32, 3)}, "can't change"),
    "no rank": ({A: torch.ones(0, 32), B: torch.ones(32, 0)}, "can't change"),
    "a number": ({A: torch.ones(()), B: torch.ones(())}, "can't change"),
    "a bias that is not there": (pair() | {f"{MODULE}.lora_B.bias": torch.ones(32)}, "UNet has no"),
    "whole numbers": ({A: torch.ones(2, 32, dtype=torch.int8), B: torch.ones(32, 2)}, "int8 numbers"),
    "many alphas": (pair() | {f"{MODULE}.alpha": torch.ones(2)}, "one number is expected"),
    "an endless alpha": (pair() | {f"{MODULE}.alpha": torch.tensor(torch.inf)}, "a number is expected"),
    "two adapters": (
        {
            key.replace(".weight", f".{name}.weight"): tensor
            for key, tensor in pair().items()
            for name in "ab"
        },
        "two LoRAs for one layer",
    ),
    "a product and a whole difference": (pair() | {f"{MODULE}.diff": torch.ones(32, 32)}, "two differences"),
    "a transposed difference": ({"time_embedding.linear_1.diff": torch.ones(32, 128)}, "can't change"),
    "a transposed product": (
        {"time_embedding.linear_1.lora_A.weight": torch.ones(1, 128)}
        | {"time_embedding.linear_1.lora_B.weight": torch.ones(32, 1)},
        "can't change",
    ),
    "a transposed kernel": (
        {"conv_in.lora_A.weight": torch.ones(1, 3, 3, 8), "conv_in.lora_B.weight": torch.ones(32, 1, 1, 1)},
        "can't change",
    ),
    "two spellings": (
        pair()
        | {f"{KEY.removesuffix('.weight')}.lora_{x}.weight": pair()[key] for x, key in (("A", A), ("B", B))},
        "two differences",
    ),
}


@pytest.mark.parametrize(("tensors", "words"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_applied_is_refused_in_words(tensors, words):
    with pytest.raises(CheckpointError, match=words) as error:
        lora_of(tensors)
    assert "lora.safetensors" in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"use_dora": True}, "is a DoRA"),
        ({"peft_type": "LOHA"}, "is a LoHa"),
        ({"lora_alpha": "8"}, "lora_alpha is '8'; a number is expected"),
        ({"lora_alpha": 1e999}, "lora_alpha is inf"),
        ({"alpha_pattern": [1]}, "alpha_pattern is"),
        ({"alpha_pattern": {"to_(q": 1}}, "a module's name is expected"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "a module's name is expected"),
        ({"alpha_pattern": {"to_q": None}}, "to_q is None"),
    ],
)
def test_options_that_can_not_be_used_are_refused_in_words(tmp_path, options, words):
    with pytest.raises(CheckpointError, match=words.replace("(", r"\(")):
        LoRA.open(folder_of_peft(tmp_path, **options), UNET)
    with pytest.raises(CheckpointError, match=words.replace("(", r"\(")):
        lora_of(pair(), **options)


def test_files_that_can_not_be_read_are_refused_in_words(tmp_path):
    for config in ("", "[1]", "[" * 100_000, '"' + " " * 2**20 + '"'):
        folder_of_peft(tmp_path)
        (tmp_path / "adapter_config.json").write_text(config)
        with pytest.raises(CheckpointError, match="adapter_config"):
            LoRA.open(tmp_path, UNET)
    with pytest.raises(CheckpointError, match=r"there is no file .*; give a LoRA of an SVD UNet"):
        LoRA.open(tmp_path / "none.safetensors", UNET)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="a folder without a LoRA"):
        LoRA.open(tmp_path / "empty", UNET)


NAMES = st.sampled_from(
    [MODULE, "unet." + MODULE, "lora_unet_conv_in", "diffusion_model.out.0", "", "x", "."]
)
ENDINGS = st.sampled_from(
    [f".lora_{x}.weight" for x in ("A", "B", "A.default", "down", "up", "mid")]
    + [
        ".lora.down.weight",
        ".lora.up.weight",
        ".alpha",
        ".diff",
        ".diff_b",
        ".lora_B.bias",
        ".base_layer.weight",
    ]
)
SHAPES = st.lists(st.sampled_from([0, 1, 2, 4, 32]), max_size=5)
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.float8_e4m3fn, torch.int64, torch.bool])
OPTIONS = st.dictionaries(
    st.sampled_from(["lora_alpha", "use_rslora", "alpha_pattern", "peft_type", "unet.lora_alpha"]),
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=5)
    | st.dictionaries(st.text(max_size=8), st.floats()),
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.builds("{}{}".format, NAMES, ENDINGS), st.tuples(SHAPES, DTYPES), min_size=1, max_size=5
    ),
    OPTIONS,
)
def test_any_header_ends_in_a_lora_or_in_a_sentence(tensors, options):
    tensors = {key: torch.zeros(shape, dtype=dtype) for key, (shape, dtype) in tensors.items()}
    try:
        lora = lora_of(tensors, **options)
    except CheckpointError as error:
        assert "lora.safetensors" in str(error)
        return
    assert lora.found and lora.deltas
    for key, delta in lora.deltas.items():
        assert delta.difference().shape == UNET[key]
