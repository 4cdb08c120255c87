"""Weights that stream, played on the CPU: host memory and the device are both the machine's memory."""

from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest
import torch

from stillmotion.svd_model.layerwise import streaming
from stillmotion.svd_model.networks.controlnet import ControlNet
from stillmotion.svd_model.networks.residual import VideoResBlock
from stillmotion.svd_model.networks.unet import Stage, VideoUNet
from support import tiny
from support.live_memory import LiveMemory
from support.named_tensors import NamedTensors

FRAMES, HEIGHT, WIDTH = 3, 16, 16
CPU = torch.device("cpu")


def make_unet(sizes=tiny.SMALL):
    return NamedTensors().fill(VideoUNet(sizes.unet, device="meta"))


def inputs(unet, tokens=1):
    params, named = unet.params, NamedTensors()
    return (
        named.input("x", (FRAMES, params.in_channels, HEIGHT, WIDTH)),
        torch.full((FRAMES,), 0.7),
        named.input("context", (1, tokens, params.context_dim)).expand(FRAMES, -1, -1),
        named.input("y", (FRAMES, params.vector_dim)),
    )


@torch.no_grad()
def evaluate(unet, *inputs):
    return unet(*inputs, FRAMES)


def bytes_by_key(unet):
    return {key: tensor.nbytes for key, tensor in unet.state_dict().items()}


@pytest.fixture
def unet():
    return make_unet()


@pytest.mark.parametrize("tokens", [1, 2])
def test_the_numbers_are_equal_to_the_bit(unet, tokens):
    expected = evaluate(unet, *inputs(unet, tokens))
    streaming.stream(unet, CPU)
    assert torch.equal(evaluate(unet, *inputs(unet, tokens)), expected)


def test_only_a_stage_of_the_weights_is_there_at_once():
    """Live bytes grow by copies of one stage at the most, and by at least one."""
    unet = make_unet(tiny.GOLDEN)
    evaluate(unet, *inputs(unet))
    with LiveMemory() as resident:
        evaluate(unet, *inputs(unet))
    streaming.stream(unet, CPU)
    with LiveMemory() as streamed:
        evaluate(unet, *inputs(unet))
    largest = streaming.largest_stage(bytes_by_key(unet))
    assert resident.peak < streamed.peak <= resident.peak + largest
    assert largest < sum(bytes_by_key(unet).values()) / 4


@torch.no_grad()
def test_a_controlnet_streams_as_the_unet_does():
    network = NamedTensors().fill(ControlNet(tiny.SMALL.unet, device="meta"))
    x, steps, context, y = inputs(network)
    embedding = NamedTensors().input("embedding", (FRAMES, tiny.SMALL.unet.model_channels, HEIGHT, WIDTH))
    constants = network.prepare(context, y, FRAMES)
    arguments = (x, network.shifts(steps, constants), constants, embedding)
    with LiveMemory() as resident:
        expected = network.residuals(*arguments)
    streaming.stream(network, CPU)
    with LiveMemory() as streamed:
        found = network.residuals(*arguments)
    assert torch.equal(found.middle, expected.middle)
    assert all(map(torch.equal, found.skips, expected.skips))
    assert resident.peak < streamed.peak <= resident.peak + streaming.largest_stage(bytes_by_key(network))


def test_the_largest_stage_is_read_off_the_keys(unet):
    stages = [stage for stage in unet.modules() if isinstance(stage, Stage)]
    sizes = [sum(weight.nbytes for weight in stage.parameters()) for stage in stages]
    assert streaming.largest_stage(bytes_by_key(unet)) == max(sizes)


def test_the_end_puts_every_weight_back_and_copies_nothing_more(unet):
    weights = dict(unet.named_parameters())
    end = streaming.stream(unet, CPU)
    evaluate(unet, *inputs(unet))
    assert all(weight is weights[key] for key, weight in unet.named_parameters())
    end()
    with mock.patch.object(streaming._Place, "put", side_effect=AssertionError):
        evaluate(unet, *inputs(unet))


def test_a_stage_that_fails_leaves_its_weights_in_host_memory(unet):
    weights = dict(unet.named_parameters())
    expected = evaluate(unet, *inputs(unet))
    streaming.stream(unet, CPU)
    with (
        mock.patch.object(VideoResBlock, "forward", side_effect=torch.OutOfMemoryError),
        pytest.raises(torch.OutOfMemoryError),
    ):
        evaluate(unet, *inputs(unet))
    assert all(weight is weights[key] for key, weight in unet.named_parameters())
    assert torch.equal(evaluate(unet, *inputs(unet)), expected)


def test_weights_in_host_memory_serve_inputs_on_a_device(unet):
    """On meta an operation that mixes devices raises, as on a GPU."""
    on_device = [tensor.to("meta") for tensor in inputs(unet)]
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.ones(1, device="meta") + torch.ones(1, device="cpu")
    streaming.stream(unet, torch.device("meta"))
    assert evaluate(unet, *on_device).device.type == "meta"
    assert all(weight.device == CPU for weight in unet.parameters())


def test_threads_may_share_a_network_that_streams(unet):
    expected = evaluate(unet, *inputs(unet))
    streaming.stream(unet, CPU)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: evaluate(unet, *inputs(unet)), range(8)))
    assert all(torch.equal(result, expected) for result in results)
