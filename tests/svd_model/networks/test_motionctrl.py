"""MotionCtrl's camera in the UNet: numbers of the reference, pieces, and layers without kernels."""

import functools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stillmotion.svd_model.networks.operations import CastingOperations
from stillmotion.svd_model.networks.pieces import WHOLE, Pieces
from stillmotion.svd_model.networks.unet import VideoUNet
from support import golden_family, tiny
from support.rounding import Reference

PARAMS = replace(tiny.UNET, camera_dim=12)


class WithoutKernels(CastingOperations):
    """Operations whose Linear computes in a way of its own, as a host's does in float8."""

    class Linear(CastingOperations.Linear):
        takes_kernels = False


@functools.cache
def unet(operations=CastingOperations) -> VideoUNet:
    network = VideoUNet(PARAMS, operations=operations, device="meta")
    network.load_state_dict(golden_family.weights("tiny_motionctrl"), assign=True)
    return network


def camera() -> Tensor:
    """The camera of both videos, a row a frame."""
    shape = (golden_family.VIDEOS, golden_family.FRAMES, 12)
    return golden_family.NAMED.input("family.RT", shape).flatten(0, 1)


def evaluate(network: VideoUNet, camera: Tensor | None, pieces: Pieces = WHOLE, tokens: int = 1) -> Tensor:
    dtype = next(network.parameters()).dtype
    x, steps, context, y = (value.to(dtype) for value in golden_family.inputs().values())
    context = context.repeat(1, tokens, 1) * torch.linspace(0.5, 1, tokens, dtype=dtype)[:, None]
    camera = None if camera is None else camera.to(dtype)
    constants = network.prepare(context, y, golden_family.FRAMES, camera)
    return network.predict(x, network.shifts(steps, constants), constants, pieces=pieces)


@torch.no_grad()
@pytest.mark.parametrize("operations", [CastingOperations, WithoutKernels])
def test_golden_family_motionctrl(operations):
    inputs = golden_family.inputs()
    out = unet(operations)(*inputs.values(), golden_family.FRAMES, camera=camera())
    golden_family.check("motionctrl.unet_out", out)


@torch.no_grad()
@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("operations", [CastingOperations, WithoutKernels])
def test_pieces_round_as_the_plain_pass_does(operations, tokens):
    exact = VideoUNet(PARAMS, dtype=torch.float64, device="meta")
    weights = golden_family.weights("tiny_motionctrl")
    exact.load_state_dict({key: value.double() for key, value in weights.items()}, assign=True)
    plain = evaluate(unet(operations), camera(), tokens=tokens)
    reference = Reference(plain, evaluate(exact, camera(), tokens=tokens))
    for workspace in (2**15, 2**17, 2**19):
        found = evaluate(unet(operations), camera(), Pieces(workspace), tokens)
        assert reference.error(found) <= 1
        assert not torch.equal(found, plain)  # it did go another way


@torch.no_grad()
def test_without_a_camera_the_layers_are_left_out():
    """The output is the one of svd's UNet with the tensors that both have."""
    plain = VideoUNet(tiny.UNET, device="meta")
    weights = golden_family.weights("tiny_motionctrl")
    plain.load_state_dict({key: weights[key] for key in plain.state_dict()}, assign=True)
    without = evaluate(unet(), None)
    assert torch.equal(without, evaluate(plain, None))
    assert (evaluate(unet(), camera()) - without).abs().max() > 0.1 * without.abs().max()


def test_a_camera_of_another_shape_or_for_another_unet_is_refused():
    inputs = golden_family.inputs().values()
    with pytest.raises(ValueError, match=r"camera has shape \(3, 12\); for this x it must be \(6, 12\)"):
        unet()(*inputs, golden_family.FRAMES, camera=camera()[:3])
    with pytest.raises(ValueError, match="a camera came, and this UNet has no layers for one"):
        golden_family.unet()(*inputs, golden_family.FRAMES, camera=camera())
