"""Files of a temporal ControlNet: whole, in a file or a folder, and refused otherwise."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from stillmotion.svd_model.checkpoint import Checkpoint, CheckpointError
from stillmotion.svd_model.checkpoint.controlnet import check_fits, controlnet_of, open_controlnet
from stillmotion.svd_model.networks.unet import UNetParams
from support import checkpoints, controlnets, golden_family, headers, tiny
from support.refusals import refusal

WHOLE = "temporal_controlnet"


def published() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the published files."""
    return golden_family.keys(WHOLE)


def test_the_published_file_maps_with_nothing_missing_and_nothing_left_over():
    part = controlnet_of(headers.file(published()))
    assert part.whole
    assert part.params == UNetParams()
    assert (len(part.expected), part.parameters) == (671, 682_021_537)
    assert part.file.shapes.keys() == part.expected.keys()


def test_the_tiny_keys_are_those_of_the_reference():
    assert {key: tuple(t.shape) for key, t in controlnets.tensors().items()} == golden_family.keys(
        "tiny_controlnet"
    )


@pytest.mark.parametrize("sizes", [tiny.GOLDEN, tiny.SMALL], ids=["golden", "small"])
def test_a_file_and_its_folders_give_its_tensors(tmp_path, sizes):
    folder = tmp_path / "controlnet"
    folder.mkdir()
    file = controlnets.write(folder / controlnets.FILE, sizes.unet)
    stored = load_file(file)
    for path in (file, folder, tmp_path):
        part = open_controlnet(path)
        assert part.params == sizes.unet
        network = part.load(dtype=torch.float32, device="cpu")
        for name in ("controlnet_mid_block.weight", "controlnet_cond_embedding.blocks.1.bias"):
            assert torch.equal(network.state_dict()[name], stored[name])
        assert torch.equal(network.input_blocks[0][0].weight, stored["conv_in.weight"])


def test_a_variant_in_float16_is_found(tmp_path):
    controlnets.write(tmp_path / "diffusion_pytorch_model.fp16.safetensors", dtype=torch.float16)
    assert open_controlnet(tmp_path).dtypes == (torch.float16,)


def test_a_folder_without_one_is_refused(tmp_path):
    with refusal(tmp_path, "a folder without weights", "temporal-controlnet-depth-svd-v1"):
        open_controlnet(tmp_path)


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"controlnet_mid_block.weight": None}, ("not whole", "1 of 671", "controlnet_mid_block.weight")),
        ({"controlnet_mid_block.bias": (3,)}, ("controlnet_mid_block.bias", "[3]", "[1280]")),
        ({"pose.weight": (3,)}, ("another network", "1 of its tensors", "pose.weight")),
        ({"conv_out.weight": (4, 320, 3, 3)}, ("another network", "1 of its tensors", "conv_out.weight")),
    ],
)
def test_what_is_not_whole_or_more_is_refused(change, facts):
    shapes = {key: shape for key, shape in (published() | change).items() if shape is not None}
    with refusal("model.safetensors", *facts):
        controlnet_of(headers.file(shapes))


def test_whole_numbers_are_refused():
    with refusal("int8", "conv_in.weight"):
        controlnet_of(headers.file(published(), {"conv_in.weight": torch.int8}))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("animatelcm_svd_xt", "UNet"),
        ("lora_peft_r4", "LoRA"),
        ("taesdv", "TAESDV"),
    ],
)
def test_other_files_are_named(name, words):
    with refusal("not a temporal ControlNet", words):
        controlnet_of(headers.file(golden_family.keys(name)))


def test_a_checkpoint_in_its_place_is_named(tmp_path):
    with refusal("an SVD checkpoint, not a temporal ControlNet"):
        open_controlnet(checkpoints.write(tmp_path / "svd.safetensors", sizes=tiny.SMALL))


def test_in_place_of_a_checkpoint_it_says_where_it_goes(tmp_path):
    with refusal("temporal ControlNet", "--control", "SVD Load ControlNet"):
        Checkpoint.open(controlnets.write(tmp_path / "a.safetensors"))


def test_it_goes_with_unets_of_its_sizes_alone():
    part = controlnet_of(headers.file(published()))
    for layers in ({}, {"camera_dim": 12}, {"frame_positions": 128}):  # svd's, MotionCtrl's, ExVideo's
        check_fits(part, replace(UNetParams(), **layers))
    for sizes in (replace(UNetParams(), vector_dim=256), tiny.UNET):
        with pytest.raises(CheckpointError, match=r"vector_dim 768 instead of 256|model_channels 320"):
            check_fits(part, sizes)
