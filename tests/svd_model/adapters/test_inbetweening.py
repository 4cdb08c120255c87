"""Generative Inbetweening: its step against the authors', its weights, and what is refused."""

import copy
import functools

import pytest
import torch
from torch import Tensor

from stillmotion.samplers.preconditioning import scalings
from stillmotion.svd_model.adapters import inbetweening
from stillmotion.svd_model.checkpoint.layouts import diffusers
from stillmotion.svd_model.checkpoint.sources import CheckpointError, TensorFile
from stillmotion.svd_model.networks.pieces import WHOLE, Pieces
from stillmotion.svd_model.networks.unet import VideoUNet
from support import golden_family, headers, tiny
from support.golden_family import FRAMES, NAMED

SIGMA = torch.tensor(3.7)
UNET = "model.diffusion_model."


@functools.cache
def changed_unet() -> VideoUNet:
    """The golden numbers' backward UNet."""
    unet = copy.deepcopy(golden_family.unet())
    state, blocks = unet.state_dict(), diffusers.Blocks.of_params(tiny.UNET)
    for name in golden_family.keys("generative_inbetweening_deltas"):
        tensor = state[diffusers.unet_name(name, blocks)]
        tensor += 0.5 * NAMED.weight("inbetween." + name, tensor.shape)
    return unet


@functools.cache
@torch.no_grad()
def outputs(pieces: Pieces = WHOLE, double: bool = False) -> tuple[Tensor, Tensor]:
    """Outputs of both UNets for an unconditional and a conditional branch: (2, T, 4, h, w) each."""
    dtype = torch.float64 if double else torch.float32
    unets = [copy.deepcopy(each).to(dtype) for each in (golden_family.unet(), changed_unet())]
    z = 3.7 * NAMED.input("family.noise", (1, 3, 4, 8, 16))[0]
    x = (scalings(SIGMA).c_in * z).repeat(2, 1, 1, 1).to(dtype)
    y = golden_family.vector(6, 127, 0.02).expand(2 * FRAMES, -1).to(dtype)
    steps = torch.full((2 * FRAMES,), golden_family.C_NOISE)
    tokens = golden_family.inputs()["context"][::FRAMES]
    views = []
    for number, unet in enumerate(unets):
        picture = NAMED.input(f"family.image{number + 1}", (1, 4, 8, 16)).to(dtype)
        token = tokens[number : number + 1].to(dtype)
        concat, context = (
            torch.cat([torch.zeros_like(each), each]).repeat_interleave(FRAMES, 0)
            for each in (picture, token)
        )
        constants = unet.prepare(context, y, FRAMES)
        views.append(inbetweening.View(unet, concat, unet.shifts(steps, constants), constants))
    forward, backward = inbetweening.both_ways(*views, x, pieces)
    return forward.unflatten(0, (2, FRAMES)), backward.unflatten(0, (2, FRAMES))


def guided(output: Tensor, scales: Tensor) -> Tensor:
    unconditional, conditional = output
    return unconditional + scales[:, None, None, None] * (conditional - unconditional)


@pytest.mark.parametrize("workspace", [None, 2**14, 2**18], ids=["at once", "smallest pieces", "pieces"])
def test_golden_family_step(workspace):
    forward, backward = outputs(Pieces(workspace))
    half, two = torch.full((FRAMES,), 0.5), torch.full((FRAMES,), 2.0)
    mean = inbetweening.fused(guided(forward, two), guided(backward, two), half)
    golden_family.check("inbetween.mean", mean)
    ramp, weights = torch.linspace(1, 3, FRAMES), torch.linspace(1, 0, FRAMES)
    weighted = inbetweening.fused(guided(forward, ramp), guided(backward, ramp.flip(0)), weights)
    golden_family.check("inbetween.weighted", weighted)


def test_pieces_are_exact():
    for found, expected in zip(outputs(Pieces(2**16), double=True), outputs(double=True), strict=True):
        assert (found - expected).abs().max() < 1e-11 * expected.abs().max()


def test_the_maps_are_the_recorded_ones_rotated():
    """Row i of the map is row T − 1 − i of the other pass, read backwards; a call serves once, in order."""
    q, k, other, v = (NAMED.input(name, (2, 5, 4)).double() for name in "qkov")
    maps = []

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        maps.append(torch.softmax(q @ k.transpose(1, 2), dim=-1))
        return maps[-1] @ v

    recorded = inbetweening.RecordedAttention()
    rotated = inbetweening.RotatedAttention(recorded)
    place = tiny.UNET.places()[1]
    assert torch.equal(recorded.attention(place, "time", q, k, v, attend), maps[0] @ v)
    result = rotated.attention(place, "time", other, other, v, attend)
    assert torch.allclose(result, maps[0].flip(1, 2) @ v)
    assert not recorded.calls
    recorded.attention(place, "space", q, k, v, attend)
    assert not recorded.calls
    assert torch.equal(rotated.attention(place, "space", q, k, v, attend), maps[0] @ v)


def test_golden_family_names():
    """The tensors that change are those of the list, at full size, in files of either layout."""
    file = diffusers.unet_to_released_names(headers.file(golden_family.keys("diffusers_svd_unet")))
    names = golden_family.keys("generative_inbetweening_deltas")
    blocks = diffusers.Blocks.of_keys(golden_family.keys("diffusers_svd_unet"))
    expected = {UNET + diffusers.unet_name(name, blocks): shape for name, shape in names.items()}
    for each in (file, headers.file(headers.released("svd_xt"))):
        assert {key: each.shapes[key] for key in inbetweening.changed_keys(each)} == expected


def files(dtype: torch.dtype = torch.float32) -> dict[str, dict[str, Tensor]]:
    """UNets of svd_xt, of svd, and of a file trained from svd."""
    state = VideoUNet(tiny.SMALL.unet, device="meta").state_dict()
    names = {"svd_xt": "", "svd": "svd:"}
    content = {
        file: {UNET + key: NAMED.weight(prefix + key, t.shape).to(dtype) for key, t in state.items()}
        for file, prefix in names.items()
    }
    content["trained"] = dict(content["svd"])
    for key in inbetweening.changed_keys(TensorFile.of_tensors("svd", content["svd"])):
        content["trained"][key] = content["svd"][key] + NAMED.weight(
            "trained:" + key, state[key[len(UNET) :]].shape
        )
    return content


def over(content: dict[str, dict[str, Tensor]]) -> TensorFile:
    opened = (
        TensorFile.of_tensors(f"{name}.safetensors", content[name]) for name in ("svd_xt", "svd", "trained")
    )
    return inbetweening.over(*opened)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_the_difference_from_svd_is_added_to_svd_xt(dtype):
    content = files(dtype)
    view = over(content)
    changed = inbetweening.changed_keys(view)
    assert len(changed) == 3 * 4
    for key in view.shapes:
        expected = content["svd_xt"][key]
        if key in changed:
            exact = [content[name][key].double() for name in ("svd_xt", "trained", "svd")]
            expected = (exact[0] + exact[1] - exact[2]).to(dtype)
            assert torch.allclose(view.read(key), expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
        else:
            assert torch.equal(view.read(key), expected)
        assert view.read(key).dtype == dtype


def test_a_file_in_another_dtype_than_svd_belongs_to_it():
    content = files()
    content["trained"] = {key: tensor.half() for key, tensor in content["trained"].items()}
    over(content)


@pytest.mark.parametrize(
    ("swap", "words"),
    [
        ({"svd": "svd_xt", "svd_xt": "svd"}, "trained.safetensors was not trained from svd.safetensors"),
        ({"svd_xt": "svd"}, "svd_xt.safetensors and svd.safetensors hold one UNet"),
    ],
    ids=["svd and svd_xt exchanged", "svd twice"],
)
def test_files_in_another_order_are_refused(swap, words):
    content = files()
    with pytest.raises(CheckpointError, match=words):
        over({name: content[swap.get(name, name)] for name in content})


def test_a_file_of_other_sizes_is_refused():
    content = files()
    key = next(
        key for key in content["trained"] if key.endswith("attn1.to_out.0.bias") and "time_stack" in key
    )
    content["trained"][key] = torch.zeros(7)
    with pytest.raises(
        CheckpointError, match=r"trained.safetensors does not fit .* is \[7\] instead of \[32\]"
    ):
        over(content)
