"""The layers with cast weights, against torch's own in float64; attention, against its formula."""

import math

import pytest
import torch
from torch import nn

from stillmotion.svd_model.networks.operations import (
    CastingOperations,
    backend_order,
    empty_parameter,
    fastest_attention,
    scaled_dot_product_attention,
)

LAYERS = {
    "linear": ("Linear", (12, 20), {}, (3, 5, 12)),
    "linear without bias": ("Linear", (12, 20), {"bias": False}, (3, 12)),
    "convolution": ("Conv2d", (4, 6, 3), {"padding": 1}, (2, 4, 9, 7)),
    "convolution with stride": ("Conv2d", (4, 6, 3), {"stride": 2, "padding": 1}, (2, 4, 9, 7)),
    "convolution without bias": ("Conv2d", (3, 8, 2), {"stride": 2, "bias": False}, (2, 3, 8, 6)),
    "convolution over time": ("Conv3d", (4, 6, (3, 1, 1)), {"padding": (1, 0, 0)}, (2, 4, 5, 6, 7)),
    "group norm": ("GroupNorm", (4, 8), {"eps": 1e-6}, (2, 8, 5, 6)),
    "group norm with torch's eps": ("GroupNorm", (2, 8), {}, (2, 8, 3, 5, 6)),
    "group norm without weights": ("GroupNorm", (2, 8), {"affine": False}, (2, 8, 3)),
    "layer norm": ("LayerNorm", (16,), {}, (3, 4, 16)),
    "layer norm with another eps": ("LayerNorm", (16,), {"eps": 0.1}, (3, 4, 16)),
    "layer norm without bias": ("LayerNorm", (16,), {"bias": False}, (3, 4, 16)),
    "layer norm without weights": ("LayerNorm", (16,), {"elementwise_affine": False}, (3, 4, 16)),
}
every_layer = pytest.mark.parametrize("layer", LAYERS)
STORED = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


def layers(name: str, stored: torch.dtype) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """Our layer with stored weights, torch's with the same values in float64, and an input in float64."""
    kind, arguments, options, shape = LAYERS[name]
    torch.manual_seed(3)
    theirs = getattr(nn, kind)(*arguments, **options, dtype=torch.float64)
    ours = getattr(CastingOperations, kind)(*arguments, **options, device="meta")
    state = {key: torch.randn_like(value).to(stored) for key, value in theirs.state_dict().items()}
    ours.load_state_dict(state, assign=True)
    theirs.load_state_dict({key: value.double() for key, value in state.items()})
    return ours, theirs, torch.randn(shape, dtype=torch.float64)


@every_layer
@pytest.mark.parametrize("stored", STORED, ids=str)
@pytest.mark.parametrize(
    ("computed", "tolerance"),
    [(torch.float64, 1e-13), (torch.float32, 1e-5), (torch.bfloat16, 4e-2)],
    ids=str,
)
def test_layers_compute_what_torch_s_do_in_the_dtype_of_the_input(layer, stored, computed, tolerance):
    ours, theirs, x = layers(layer, stored)
    result = ours(x.to(computed))
    expected = theirs(x)
    assert result.dtype == computed
    assert (result - expected).norm() <= tolerance * expected.norm()


@every_layer
def test_weights_stay_as_they_are_stored(layer):
    ours, _, x = layers(layer, torch.float8_e4m3fn)
    before = {key: (value.data_ptr(), value.dtype) for key, value in ours.state_dict().items()}
    ours(x.float())
    assert {key: (value.data_ptr(), value.dtype) for key, value in ours.state_dict().items()} == before
    assert all(dtype == torch.float8_e4m3fn for _, dtype in before.values())


@every_layer
def test_layers_are_torch_s_with_the_same_keys(layer):
    kind, arguments, options, _ = LAYERS[layer]
    theirs = getattr(nn, kind)
    ours = getattr(CastingOperations, kind)(*arguments, **options, dtype=torch.float16, device="meta")
    assert isinstance(ours, theirs)
    assert list(ours.state_dict()) == list(theirs(*arguments, **options).state_dict())
    assert all(p.is_meta and p.dtype == torch.float16 for p in ours.parameters())


def test_nothing_is_drawn_at_random_when_a_layer_is_built():
    before = torch.get_rng_state()
    for kind, arguments, options, _ in LAYERS.values():
        getattr(CastingOperations, kind)(*arguments, **options)
    assert torch.equal(torch.get_rng_state(), before)


def attention_by_formula(q, k, v, heads: int) -> torch.Tensor:
    """softmax(q·kᵀ/√d)·v, head by head and row by row."""
    width = q.shape[-1] // heads
    result = torch.zeros(*q.shape[:2], v.shape[-1], dtype=q.dtype)
    for b in range(q.shape[0]):
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            for row in range(q.shape[1]):
                weights = (k[b, :, part] @ q[b, row, part] / math.sqrt(width)).exp()
                result[b, row, part] = weights / weights.sum() @ v[b, :, part]
    return result


@pytest.mark.parametrize(
    ("heads", "width", "rows", "keys"),
    [(1, 8, 5, 5), (4, 4, 6, 6), (2, 16, 7, 3), (3, 2, 1, 4), (2, 4, 5, 1)],
)
def test_attention_is_its_formula(heads, width, rows, keys):
    torch.manual_seed(5)
    q = torch.randn(2, rows, heads * width, dtype=torch.float64)
    k, v = torch.randn(2, 2, keys, heads * width, dtype=torch.float64)
    result = scaled_dot_product_attention(q, k, v, heads)
    assert result.shape == q.shape
    torch.testing.assert_close(result, attention_by_formula(q, k, v, heads), rtol=0, atol=1e-13)


def test_attention_to_one_key_is_its_value():
    q, v = torch.randn(2, 5, 8), torch.randn(2, 1, 8)
    assert torch.equal(scaled_dot_product_attention(q, torch.randn(2, 1, 8), v, 2), v.expand(2, 5, 8))


def test_heads_lie_side_by_side():
    q, k, v = torch.randn(3, 2, 6, 12, dtype=torch.float64)
    parts = [
        scaled_dot_product_attention(*(x[..., 4 * head : 4 * head + 4] for x in (q, k, v)), 1)
        for head in range(3)
    ]
    torch.testing.assert_close(scaled_dot_product_attention(q, k, v, 3), torch.cat(parts, dim=-1))


@pytest.mark.parametrize(("shape", "dtype"), [((3,), torch.float32), ((2, 5), torch.float16), ((4,), None)])
def test_an_empty_parameter_has_a_shape_and_a_dtype(shape, dtype):
    parameter = empty_parameter(*shape, dtype=dtype, device="meta")
    assert isinstance(parameter, nn.Parameter)
    assert (parameter.shape, parameter.dtype) == (torch.Size(shape), dtype or torch.get_default_dtype())
    assert parameter.is_meta


@pytest.mark.parametrize("capability, first", [((8, 9), "FLASH"), ((9, 0), "CUDNN"), ((10, 0), "CUDNN")])
def test_the_fastest_kernel_of_a_gpu_is_asked_for_first_and_the_plain_one_last(capability, first):
    order = backend_order(capability)
    assert order[0].name.startswith(first)
    assert order[-1].name == "MATH" and len(set(order)) == 4


def test_a_gpus_kernels_are_asked_for_and_only_within(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    before = torch.backends.cuda.math_sdp_enabled(), torch._C._get_sdp_priority_order()
    with fastest_attention(torch.device("cuda")):
        assert torch._C._get_sdp_priority_order() != before[1]
    assert (torch.backends.cuda.math_sdp_enabled(), torch._C._get_sdp_priority_order()) == before
    with fastest_attention(torch.device("cpu")):
        assert torch._C._get_sdp_priority_order() == before[1]
