"""The forms for planes against the plain ones; the networks in them, on a CPU, against themselves."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stillmotion.svd_model.networks import kernels, planes
from stillmotion.svd_model.networks.feed_forward import GEGLU
from stillmotion.svd_model.networks.operations import CastingOperations
from stillmotion.svd_model.networks.unet import VideoUNet
from support import tiny
from support.named_tensors import NamedTensors

VIDEOS, FRAMES, CHANNELS, GROUPS, LENGTH = 2, 5, 64, 32, 48
ROWS = VIDEOS * FRAMES
NAMED = NamedTensors("planes:")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weight(*shape: int) -> Tensor:
    return random(*shape, seed=1) / (torch.Size(shape).numel() / shape[0]) ** 0.5


def normalisation(num_frames: int):
    """Over one or all frames of a video, with an offset a plane and means far from zero."""

    def form(x, offset, w, b):
        return planes.group_norm(x, w, b, GROUPS, 1e-5, offset, num_frames)

    def plain(x, offset, w, b):
        video = (x + offset[..., None]).unflatten(0, (-1, num_frames)).transpose(1, 2)
        return functional.group_norm(video, GROUPS, w, b, 1e-5).transpose(1, 2).flatten(0, 1)

    x = random(ROWS, CHANNELS, LENGTH) + 3 * random(ROWS, CHANNELS, 1, seed=4)
    return (
        form,
        plain,
        (x, random(ROWS, CHANNELS, seed=5), random(CHANNELS, seed=2), random(CHANNELS, seed=3)),
    )


def convolution():
    def form(x, w, b, shift):
        result, offset = planes.conv2d(x, w, b, (2, 2), (1, 1), shift)
        return result.double() + offset[..., None, None]

    def plain(x, w, b, shift):
        return functional.conv2d(x, w, b, 2, 1) + shift[..., None, None]

    return form, plain, (random(3, CHANNELS, 9, 8), weight(48, CHANNELS, 3, 3), random(48), random(3, 48))


def _plain_over_time(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    video = functional.silu(x).unflatten(0, (-1, FRAMES)).transpose(1, 2)[..., None]
    return functional.conv3d(video, w, b, padding=(1, 0, 0))[..., 0].transpose(1, 2).flatten(0, 1)


def over_time():
    def form(x, w, b):
        result, offset = planes.over_time(planes.silu_between_zeros(x, FRAMES), w, b)
        return result.double() + offset[:, None]  # as the normalisation behind it takes it

    return form, _plain_over_time, (random(ROWS, CHANNELS, LENGTH), weight(48, CHANNELS, 3, 1, 1), random(48))


def added_over_time():
    part = 0.375  # which every dtype has

    def form(x, onto, w, b):
        result = onto.clone()
        padded = planes.silu_between_zeros(x, FRAMES)
        offset = planes.add_over_time(padded, w, b, result, torch.tensor(part, dtype=x.dtype))
        return result.double() + offset[:, None]

    def plain(x, onto, w, b):
        return onto + part * _plain_over_time(x, w, b)

    x, onto = random(ROWS, CHANNELS, LENGTH), random(ROWS, 48, LENGTH, seed=6)
    return form, plain, (x, onto, weight(48, CHANNELS, 3, 1, 1), random(48))


def tokens():
    def plain(x, w, b):
        return functional.linear(x.transpose(1, 2), w, b)

    return planes.to_tokens, plain, (random(3, CHANNELS, LENGTH), weight(48, CHANNELS), random(48))


def added_tokens():
    def plain(hidden, w, b, x):
        return x + functional.linear(hidden, w, b).transpose(1, 2)

    given = random(3, LENGTH, CHANNELS), weight(48, CHANNELS), random(48), random(3, 48, LENGTH, seed=7)
    return planes.add_tokens, plain, given


CASES = {
    "normalisation of frames": lambda: normalisation(1),
    "normalisation of videos": lambda: normalisation(FRAMES),
    "convolution": convolution,
    "convolution over time": over_time,
    "convolution over time that is added": added_over_time,
    "tokens of planes": tokens,
    "planes of tokens": added_tokens,
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@every_case
@torch.no_grad()
def test_equals_the_plain_form_in_float64(case):
    form, plain, given = case()
    assert (form(*given) - plain(*given)).abs().max() < 1e-10


@every_case
@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_is_not_further_from_the_exact_result_than_the_plain_form(case, dtype):
    form, plain, given = case()
    rounded = [value.to(dtype) for value in given]
    exact = plain(*[value.double() for value in rounded])
    errors = [(compute(*rounded).double() - exact).square().mean().sqrt() for compute in (form, plain)]
    allowance = {torch.bfloat16: 1.1, torch.float32: 2}[dtype]  # float32's depends on the order of sums
    assert errors[0] <= allowance * errors[1] + 1e-7 * exact.abs().max()


def evaluated(unet: VideoUNet, videos: int = 2, frames: int = 3) -> Tensor:
    rows = videos * frames
    dtype = next(unet.parameters()).dtype
    inputs = (
        NAMED.input("x", (rows, 8, 16, 16)),
        torch.linspace(0.1, 0.9, rows),
        NAMED.input("context", (rows, 1, 64)),
        NAMED.input("y", (rows, 768)),
    )
    return unet(*(value.bfloat16().to(dtype) for value in inputs), frames)


@pytest.fixture
def in_planes(monkeypatch):
    """Has everything in these forms from when it is called."""

    def begin():
        monkeypatch.setattr(planes, "fits", lambda device: True)
        monkeypatch.setattr(kernels, "memory_format", lambda device: torch.contiguous_format)

    return begin


@torch.no_grad()
def test_a_unet_in_planes_has_the_same_numbers(in_planes):
    unet = NAMED.fill(VideoUNet(tiny.UNET, device="meta")).double()
    expected = evaluated(unet)
    in_planes()
    assert (evaluated(unet) - expected).abs().max() < 1e-9 * expected.abs().max()


@torch.no_grad()
def test_a_unet_in_planes_rounds_no_more_in_bfloat16(in_planes):
    unet = NAMED.fill(VideoUNet(tiny.UNET, device="meta")).bfloat16()
    exact = evaluated(unet.double())
    errors = [(evaluated(unet.bfloat16()).double() - exact).square().mean().sqrt()]
    in_planes()
    errors.append((evaluated(unet).double() - exact).square().mean().sqrt())
    assert errors[1] < 1.1 * errors[0]


@torch.no_grad()
def test_layers_that_multiply_in_their_own_way_are_only_called(in_planes):
    """As float8 ones: their weights are no ordinary numbers."""

    class Own(CastingOperations):
        class Linear(CastingOperations.Linear):
            takes_kernels = False

            def forward(self, x):
                return functional.linear(x, self.weight, self.bias)

            def halves(self, x):
                return self(x).chunk(2, dim=-1)

            def compute(self, x, form, *options):
                raise AssertionError(form)

    in_planes()
    plain, own = (
        evaluated(NAMED.fill(VideoUNet(tiny.UNET, device="meta", operations=operations)))
        for operations in (CastingOperations, Own)
    )
    assert (own - plain).abs().max() < 1e-4 * plain.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("as_on_a_gpu", [False, True])
def test_a_layer_with_a_hook_is_called(in_planes, as_on_a_gpu):
    unet = NAMED.fill(VideoUNet(tiny.UNET, device="meta")).double()
    expected = evaluated(unet)
    if as_on_a_gpu:
        in_planes()
    # What is not needed where there is one token.
    left_out = ("attn2.to_q", "attn2.to_k", "norm2")
    layers = {name for name, layer in unet.named_modules() if hasattr(layer, "takes_kernels")}
    layers = {name for name in layers if not name.endswith(left_out)}
    called = set()
    for name in layers:
        unet.get_submodule(name).register_forward_hook(lambda *_, name=name: called.add(name))
    assert (evaluated(unet) - expected).abs().max() < 1e-9 * expected.abs().max()
    assert called == layers


@torch.no_grad()
@pytest.mark.parametrize("as_on_a_gpu", [False, True])
def test_a_caller_s_autocast_rounds_as_ever(in_planes, as_on_a_gpu):
    unet = NAMED.fill(VideoUNet(tiny.UNET, device="meta"))
    if as_on_a_gpu:
        in_planes()
    with torch.autocast("cpu", torch.bfloat16):
        found = evaluated(unet)
        with torch.enable_grad():
            expected = evaluated(unet)
    assert found.dtype == expected.dtype
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_a_gated_layer_has_a_gradient():
    layer = GEGLU(8, 16, CastingOperations)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(3, 8, requires_grad=True)
    layer(x).square().sum().backward()
    assert x.grad is not None and layer.proj.weight.grad is not None
