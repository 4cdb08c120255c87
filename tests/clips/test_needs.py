"""What a clip needs, against the planners, the files and live tensors."""

from pathlib import Path

import pytest
import torch

from stillmotion.clips import needs
from stillmotion.svd_model import layerwise
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.sources import TensorFile
from stillmotion.svd_model.networks.vision import VisionParams, VisionTransformer
from support import checkpoints, headers, tiny
from support.live_memory import LiveMemory
from support.named_tensors import NamedTensors

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIZE = (25, 72, 128)


@pytest.fixture(scope="module")
def released():
    return headers.checkpoint(headers.released("svd_xt"))


def test_sampling_needs_what_the_planner_of_the_unet_says(released):
    need = needs.to_sample(released, SIZE, torch.float16, CUDA)
    planner = layerwise.UNetPlanner(released.unet.params, 2, *SIZE, torch.float16, CUDA)
    assert (need.least, need.fastest) == (planner.smallest().peak, planner.within(None).peak)
    assert need.work == "sampling 25 frames of 1024×576"
    assert need.slowdown(need.fastest) == 1
    assert need.slowdown(need.least) >= 1
    assert need.weights == released.unet.size
    assert need.streamed < need.weights / 8


def test_shared_features_count_in_the_fastest_way_alone(released):
    sizes, where = released.unet.params, (torch.float16, CUDA)
    first = [place.name for place in sizes.places()].index("u0")
    plain, sharing = (needs.to_sample(released, SIZE, *where, early=early) for early in (None, first))
    planner = layerwise.UNetPlanner(sizes, 2, *SIZE, *where, early=first)
    assert sharing.fastest == planner.within(None).peak > plain.fastest
    assert sharing.least == plain.least and sharing.slowdown(sharing.fastest) == 1


@pytest.mark.parametrize(("dtype", "times"), [(torch.float16, 1), (torch.float32, 1), (torch.float64, 1)])
def test_weights_count_as_they_are_loaded(released, dtype, times):
    """A file of float16 stays so in wider dtypes; a wider file is narrowed."""
    assert needs.to_sample(released, SIZE, dtype, CPU).weights == times * released.unet.size
    wide = headers.checkpoint(
        headers.released("svd_xt"), dict.fromkeys(headers.released("svd_xt"), torch.float32)
    )
    assert needs.to_sample(wide, SIZE, torch.float16, CPU).weights == released.unet.size


@pytest.mark.parametrize("frame_wise", [False, True])
def test_decoding_needs_what_the_planner_of_its_decoder_says(released, frame_wise):
    need = needs.to_decode(released, SIZE, frame_wise, torch.float32, CPU)
    part = released.decoder_for(frame_wise)
    options = {"temporal": not frame_wise, "dtype": torch.float32, "device": CPU}
    planner = layerwise.DecodePlanner(part.params, *SIZE, **options)
    assert (need.least, need.fastest) == (planner.smallest().peak, planner.within(None).peak)
    assert need.streamed == need.weights == part.size
    assert need.slowdown(need.least) >= need.slowdown(need.fastest) == 1


def test_encoding_needs_what_the_planner_of_the_encoder_says(released):
    need = needs.to_encode(released, 576, 1024, CPU)
    options = {"dtype": torch.float32, "device": CPU}
    planner = layerwise.EncodePlanner(released.encoder.params, 576, 1024, **options)
    assert (need.least, need.fastest) == (planner.smallest().peak, planner.within(None).peak)
    assert need.network == "VAE encoder"


WIDE = VisionParams(width=320, layers=2, head_width=80, mlp_width=1280, output_dim=64)


@pytest.mark.parametrize("params", [tiny.VISION, WIDE], ids=["tiny", "wide"])
@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
def test_the_image_tower_takes_no_more_than_it_needs(params, stored):
    tower = NamedTensors().fill(VisionTransformer(params, device="meta")).to(stored)
    pixels = torch.zeros(1, 3, params.image_size, params.image_size)
    with LiveMemory() as live, torch.no_grad():
        tower(pixels)
    assert live.peak <= params.memory(torch.float32) < 5 * live.peak  # a backend may store scores


def test_the_words_name_the_stage_that_needs_most_and_what_is_fastest():
    tensors = checkpoints.tensors("svd", sizes=tiny.SMALL)
    checkpoint = Checkpoint(TensorFile.of_tensors(Path("svd.safetensors"), tensors))
    stages = (
        needs.to_sample(checkpoint, (4, 8, 8), torch.float32, CPU),
        needs.to_decode(checkpoint, (4, 8, 8), False, torch.float32, CPU),
    )
    assert needs.in_words(stages) == [
        f"{need.work}: {layerwise.in_units(need.weights + need.least)}, "
        f"fastest from {layerwise.in_units(need.weights + need.fastest)} on"
        for need in stages
    ]
