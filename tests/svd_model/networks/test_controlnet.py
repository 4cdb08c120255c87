"""The temporal ControlNet: the reference's numbers, and its weights."""

import pytest
import torch

from stillmotion.svd_model.checkpoint.layouts import diffusers
from stillmotion.svd_model.networks.controlnet import WEIGHTINGS, ControlHooks, ControlNet, Residuals
from stillmotion.svd_model.networks.unet import UNetParams
from support import golden_family, tiny

DOWN = (0, 3, 4, 7, 11)
"""The skips whose residuals the reference has."""


@pytest.fixture(scope="module")
def network() -> ControlNet:
    blocks = diffusers.Blocks.of_params(tiny.UNET)
    tensors = golden_family.weights("tiny_controlnet", "controlnet.")
    network = ControlNet(tiny.UNET, device="meta")
    state = {diffusers.unet_name(key, blocks) or key: tensor for key, tensor in tensors.items()}
    network.load_state_dict(state, assign=True)
    return network


@pytest.fixture(scope="module")
def embedding(network):
    with torch.no_grad():
        return network.embed(golden_family.control().flatten(0, 1))


@pytest.fixture(scope="module")
def residuals(network, embedding) -> Residuals:
    x, timesteps, context, y = golden_family.inputs().values()
    with torch.no_grad():
        constants = network.prepare(context, y, golden_family.FRAMES)
        return network.residuals(x, network.shifts(timesteps, constants), constants, embedding)


def test_golden_family_controlnet_embedding(embedding):
    golden_family.check("controlnet.embedding", embedding[::2])


@pytest.mark.parametrize("skip", DOWN)
def test_golden_family_controlnet_residuals(residuals, skip):
    golden_family.check(f"controlnet.down.{skip}", residuals.skips[skip])


def test_golden_family_controlnet_middle(residuals):
    golden_family.check("controlnet.mid", residuals.middle)


@pytest.mark.parametrize(
    ("name", "weighting", "strength"),
    [("scale1.0", "author", 1.0), ("scale0.5", "author", 0.5), ("once", "once", 1.0)],
)
@torch.no_grad()
def test_golden_family_controlnet_unet(residuals, name, weighting, strength):
    hooks = ControlHooks(residuals, WEIGHTINGS[weighting](tiny.UNET), strength)
    inputs = golden_family.inputs().values()
    out = golden_family.unet()(*inputs, golden_family.FRAMES, hooks)
    golden_family.check(f"controlnet.unet_out.{name}", out)


def test_the_weights_are_the_authors():
    assert WEIGHTINGS["author"](UNetParams()) == (4, 4, 4, 4, 3, 3, 3, 2, 2, 2, 1, 1)
    assert WEIGHTINGS["author"](tiny.SMALL.unet) == (2, 2, 2, 1)
    assert WEIGHTINGS["once"](UNetParams()) == (1,) * 12


@torch.no_grad()
def test_an_embedding_of_one_video_serves_all(network, embedding):
    x, timesteps, context, y = golden_family.inputs().values()
    constants = network.prepare(context, y, golden_family.FRAMES)
    shifts = network.shifts(timesteps, constants)
    first = embedding[: golden_family.FRAMES]
    one = network.residuals(x, shifts, constants, first)
    both = network.residuals(x, shifts, constants, first.repeat(2, 1, 1, 1))
    assert torch.equal(one.middle, both.middle)
    assert all(map(torch.equal, one.skips, both.skips))
