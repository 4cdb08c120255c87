"""Every form that a layer is computed in against the plain one: equal in float64, not worse in bfloat16."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stillmotion.svd_model.layerwise.moments import moments
from stillmotion.svd_model.networks import kernels
from stillmotion.svd_model.networks.attention import MultiHeadAttention
from stillmotion.svd_model.networks.hooks import NO_HOOKS, Place
from stillmotion.svd_model.networks.mixing import Mixer
from stillmotion.svd_model.networks.operations import CastingOperations, scaled_dot_product_attention
from stillmotion.svd_model.networks.transformer import SpatialVideoTransformer

Case = tuple[Callable[..., Tensor], Callable[..., Tensor], tuple[Tensor, ...]]
"""The form, the plain one, and what both are given."""

CHANNELS, TOKENS, FRAMES, HEADS = 64, 12, 5, 4


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weight(*shape: int) -> Tensor:
    return random(*shape, seed=1) / (torch.Size(shape).numel() / shape[0]) ** 0.5


def linear() -> Case:
    given = random(2, 9, CHANNELS), weight(96, CHANNELS), random(96)
    return kernels.linear, functional.linear, given


def convolution(height: int, width: int) -> Callable[[], Case]:
    def case() -> Case:
        x = random(2, CHANNELS, height, width).contiguous(memory_format=torch.channels_last)

        def form(x, w, b):
            return kernels.conv2d(x, w, b, 1, 1)

        def plain(x, w, b):
            return functional.conv2d(x.contiguous(), w, b, padding=1)

        return form, plain, (x, weight(48, CHANNELS, 3, 3), random(48))

    return case


def rearranged_convolution() -> Case:
    def form(x, w, b):
        return kernels.Convolution(w, b, x)(x, (2, 2), (1, 1))

    def plain(x, w, b):
        return functional.conv2d(x, w, b, stride=2, padding=1)

    return form, plain, (random(2, CHANNELS, 9, 16), weight(48, CHANNELS, 3, 3), random(48))


def over_time() -> Case:
    def form(x, w, b):
        return kernels.over_time(x.flatten(3), w, b).unflatten(3, x.shape[3:])

    def plain(x, w, b):
        return functional.conv3d(x, w, b, padding=(1, 0, 0))

    return form, plain, (random(2, CHANNELS, FRAMES, 3, 4), weight(48, CHANNELS, 3, 1, 1), random(48))


def upsampling() -> Case:
    def plain(x, w, b):
        return functional.conv2d(functional.interpolate(x, scale_factor=2, mode="nearest"), w, b, padding=1)

    return kernels.enlarge, plain, (random(2, CHANNELS, 20, 24), weight(48, CHANNELS, 3, 3), random(48))


def normalisation() -> Case:
    def form(x, w, b):
        norm = CastingOperations.GroupNorm(32, CHANNELS)
        norm.weight, norm.bias = (nn.Parameter(value, requires_grad=False) for value in (w, b))
        return moments(x, 32).normaliser(norm, x)(x)

    def plain(x, w, b):
        return functional.silu(functional.group_norm(x, 32, w, b, 1e-5))

    x = random(2, CHANNELS, 9, 8).contiguous(memory_format=torch.channels_last)
    return form, plain, (x, random(CHANNELS, seed=2), random(CHANNELS, seed=3))


def _mixer(dtype: torch.dtype) -> Mixer:
    mixer = Mixer(dtype=dtype, device="cpu")
    mixer.mix_factor = nn.Parameter(torch.full((1,), 0.7, dtype=dtype), requires_grad=False)
    return mixer


def _plainly_mixed(spatial: Tensor, temporal: Tensor) -> Tensor:
    alpha = torch.sigmoid(torch.tensor(0.7, dtype=spatial.dtype).float()).to(spatial.dtype)
    return alpha * spatial + (1 - alpha) * temporal


def mix() -> Case:
    return lambda s, t: _mixer(s.dtype)(s, t), _plainly_mixed, (random(4, 9), random(4, 9, seed=1))


def mix_of_a_change() -> Case:
    def plain(spatial, change):
        return _plainly_mixed(spatial, spatial + change)

    return lambda s, c: _mixer(s.dtype).add(s, c), plain, (random(4, 9), random(4, 9, seed=1))


def _attention(dtype: torch.dtype, context_dim: int = CHANNELS) -> MultiHeadAttention:
    layer = MultiHeadAttention(
        CHANNELS,
        context_dim,
        HEADS,
        scaled_dot_product_attention,
        CastingOperations,
        dtype=dtype,
        device="cpu",
    )
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
        parameter.copy_(weight(*parameter.shape) if parameter.ndim > 1 else random(*parameter.shape))
    return layer


def attention_to_one_token() -> Case:
    def form(x, context):
        return _attention(x.dtype, 24).prepare(context).expand_as(x)

    def plain(x, context):
        layer = _attention(x.dtype, 24)
        return layer.to_context(x, (layer.to_k(context), layer.to_v(context)))

    return form, plain, (random(3, TOKENS, CHANNELS), random(3, 1, 24, seed=2))


def attention_over_time() -> Case:
    def plain(x):
        tokens = x.transpose(1, 2).flatten(0, 1).contiguous()  # (B, T, S, C) -> (B·S, T, C)
        return _attention(x.dtype)(tokens).unflatten(0, (x.shape[0], -1)).transpose(1, 2)

    def form(x):
        return _attention(x.dtype).add_over_time(torch.zeros_like(x), x)

    return form, plain, (random(2, FRAMES, TOKENS, CHANNELS),)


def geglu() -> Case:
    def plain(x, w, b):
        value, gate = functional.linear(x, w, b).chunk(2, dim=-1)
        return value * functional.gelu(gate)

    def form(x, w, b):
        return kernels.gated(*kernels.linear_halves(x, w, b))

    return form, plain, (random(2, 9, CHANNELS), weight(96, CHANNELS), random(96))


CASES = {
    "linear": linear,
    "gated linear units": geglu,
    "convolution of few positions": convolution(4, 6),
    "convolution with channels last": convolution(16, 20),
    "convolution with weights rearranged": rearranged_convolution,
    "convolution over time": over_time,
    "upsampling folded into the convolution": upsampling,
    "normalisation from moments with channels last": normalisation,
    "mix": mix,
    "mix of a change": mix_of_a_change,
    "attention to one token": attention_to_one_token,
    "attention over time without moving tokens": attention_over_time,
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request) -> Case:
    return request.param()


@torch.no_grad()
def test_equals_the_plain_form_in_float64(case: Case):
    form, plain, given = case
    assert (form(*given) - plain(*given)).abs().max() < 1e-10


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_is_not_further_from_the_exact_result_than_the_plain_form(case: Case, dtype: torch.dtype):
    form, plain, given = case
    rounded = [value.to(dtype) for value in given]
    exact = plain(*[value.double() for value in rounded])
    errors = [(compute(*rounded).double() - exact).square().mean().sqrt() for compute in (form, plain)]
    allowance = {torch.bfloat16: 1.1, torch.float32: 2}[dtype]  # float32's depends on the order of sums
    assert errors[0] <= allowance * errors[1] + 1e-7 * exact.abs().max()


@torch.no_grad()
def test_folding_rounds_bfloat16_once_more_and_is_left_out_there():
    _, plain, given = upsampling()
    x, w, b = (value.bfloat16() for value in given)
    exact = plain(x.double(), w.double(), b.double())
    result = torch.empty(exact.shape, dtype=torch.bfloat16)
    kernels.FoldedUpsampling(w, b, x).into(result, functional.pad(x, (1, 1, 1, 1)))
    folded, plainly = ((value.double() - exact).square().mean().sqrt() for value in (result, plain(x, w, b)))
    assert folded > 1.1 * plainly
    assert not kernels.folds(x)


@torch.no_grad()
def test_a_multi_token_context_is_attended_to():
    """Other tools feed several tokens: then the constant would be wrong."""
    layer = _attention(torch.float64, 24)
    context = layer.prepare(random(3, 7, 24))
    assert isinstance(context, tuple)
    result = layer.to_context(random(3, TOKENS, CHANNELS), context)
    assert (result - result[:, :1]).abs().max() > 0.01


def test_training_takes_torchs_own_layers():
    """oneDNN's have no gradient."""
    x = torch.randn(4, CHANNELS, requires_grad=True)
    w = torch.randn(8, CHANNELS, requires_grad=True)
    kernels.linear(x, w, None).sum().backward()
    assert w.grad is not None and x.grad is not None


@torch.no_grad()
def test_a_transformer_lays_its_result_out_as_its_input():
    layer = SpatialVideoTransformer(
        CHANNELS,
        24,
        HEADS,
        scaled_dot_product_attention,
        CastingOperations,
        dtype=torch.float32,
        device="cpu",
    )
    for parameter in layer.parameters():
        parameter.copy_(weight(*parameter.shape) if parameter.ndim > 1 else random(*parameter.shape))
    x = random(2 * FRAMES, CHANNELS, 3, 4).float().contiguous(memory_format=torch.channels_last)
    context = layer.prepare(random(2 * FRAMES, 1, 24).float(), FRAMES)
    result = layer(x, context, NO_HOOKS, Place("middle", 0, 0, 0))
    assert result.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
@pytest.mark.parametrize(
    ("kernel", "frames", "size"), [(1, 2, 1), (1, 4, 1), (1, 2, 2), (3, 2, 1), (3, 2, 4)]
)
def test_a_convolution_does_not_depend_on_the_address_of_its_weights(kernel, frames, size):
    """A mapped file has its tensors at multiples of eight bytes, wherever its header ends."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(128, 256, kernel, kernel, generator=generator)
    x = torch.randn(frames, 256, size, size, generator=generator)
    buffer = torch.empty(weight.nbytes + 128, dtype=torch.uint8)
    start = -buffer.data_ptr() % 64 + 8
    elsewhere = buffer[start : start + weight.nbytes].view(torch.float32).view(weight.shape).copy_(weight)
    results = [kernels.conv2d(x, each, None, padding=kernel // 2) for each in (weight, elsewhere)]
    assert torch.equal(*results)
