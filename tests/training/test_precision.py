"""bfloat16 where the processor multiplies it, and never in the layer whose gradient does not end there."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from training import precision, sizes

CPU = torch.device("cpu")
BACKWARD = torch.ops.aten.convolution_backward.default


class Gradients(TorchDispatchMode):
    """Collects the dtype and the weight's shape of each convolution's gradient."""

    def __init__(self):
        super().__init__()
        self.taken: list[tuple[torch.dtype, torch.Size]] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function == BACKWARD:
            self.taken.append((args[0].dtype, args[2].shape))
        return function(*args, **(kwargs or {}))


def with_instructions(monkeypatch, *names: str) -> None:
    """Plays a processor with these instructions."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True))


@pytest.mark.parametrize("instructions", [("avx2", "avx512_bf16"), ("avx512_f", "amx_tile", "amx_bf16")])
def test_products_are_bfloat16_where_the_processor_has_it(monkeypatch, instructions):
    with_instructions(monkeypatch, *instructions)
    with precision.autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("instructions", [(), ("avx2",), ("avx2", "avx512_f", "avx512_bw")])
def test_products_are_float32_where_it_has_not(monkeypatch, instructions):
    with_instructions(monkeypatch, *instructions)
    with precision.autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_narrow_convolutions_over_time_have_their_gradient_in_float32(monkeypatch):
    """With 3 channels it hangs oneDNN on processors with AMX, which this test does not need."""
    with_instructions(monkeypatch, "avx512_bf16")
    decoder = sizes.temporal_decoder()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter += 0.01
    with Gradients() as gradients, precision.autocast(CPU):
        decoder(torch.randn(2, 4, 2, 2), 2).float().square().mean().backward()
    over_time = [(dtype, shape) for dtype, shape in gradients.taken if shape[2:] == (3, 1)]
    narrow = [dtype for dtype, shape in over_time if min(shape[:2]) < precision.FEWEST_CHANNELS]
    wide = [dtype for dtype, shape in over_time if min(shape[:2]) >= precision.FEWEST_CHANNELS]
    assert narrow == [torch.float32]
    assert wide
    assert set(wide) == {torch.bfloat16}


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_convolutions_over_time_have_the_gradients_of_float32(frames):
    """In bfloat16 of two frames, a 3D one has none of the kind on processors with AVX-512."""
    torch.manual_seed(frames)
    layer = precision.TrainedOperations.Conv3d(32, 32, (3, 1, 1), padding=(1, 0, 0))
    plain = torch.nn.Conv3d(32, 32, (3, 1, 1), padding=(1, 0, 0))
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(1, 32, frames, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        made = layer(x)
    made.float().square().mean().backward()
    expected = plain(x)
    expected.square().mean().backward()
    assert made.shape == expected.shape
    assert made.dtype == torch.bfloat16
    for name in ("weight", "bias"):
        true = getattr(plain, name).grad
        assert (getattr(layer, name).grad - true).abs().max() < 0.05 * true.abs().max()
