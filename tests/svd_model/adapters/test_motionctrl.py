"""MotionCtrl's tensors over svd's: the view is the whole checkpoint's, and what does not fit is refused."""

from pathlib import Path

import pytest
import torch

from stillmotion.svd_model.adapters.motionctrl import over_svd
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.sources import CheckpointError, TensorFile
from support import checkpoints, golden_family, headers, tiny
from support.headers import UNET

LAYERS = ("cc_projection.", "norm2.", "attn2.")


def of(name: str, tensors: dict) -> TensorFile:
    return TensorFile.of_tensors(Path(name), tensors)


@pytest.fixture(scope="module")
def svd():
    return checkpoints.tensors("svd", sizes=tiny.SMALL)


@pytest.fixture(scope="module")
def whole():
    """MotionCtrl's checkpoint: svd's, with other numbers in the layers that were trained."""
    tensors = checkpoints.tensors("motionctrl_svd", sizes=tiny.SMALL)
    return {key: 2 * value if is_changed(key) else value for key, value in tensors.items()}


def is_changed(key: str) -> bool:
    block, found, rest = key.partition(".time_stack.0.")
    return block.startswith(UNET) and bool(found) and rest.startswith(LAYERS)


@pytest.mark.parametrize("prefix", [UNET, "", "diffusion_model.", None])
def test_the_view_is_the_whole_checkpoint(svd, whole, prefix):
    changes = whole
    if prefix is not None:
        changes = {prefix + key.removeprefix(UNET): value for key, value in whole.items() if is_changed(key)}
    view = over_svd(of("svd.safetensors", svd), of("motionctrl.safetensors", changes))
    assert view.shapes == of("", whole).shapes
    assert all(torch.equal(view.read(key), value) for key, value in whole.items())
    checkpoint = Checkpoint(view)
    assert checkpoint.variant.name == "motionctrl_svd" and checkpoint.complete


def test_144_tensors_of_the_released_file_suffice():
    changes = golden_family.keys("motionctrl_svd_deltas") | golden_family.keys("motionctrl_svd_retrained")
    assert len(changes) == 144
    view = over_svd(headers.file(headers.released("svd_xt")), headers.file(changes))
    assert view.shapes == headers.file(golden_family.keys("motionctrl_svd")).shapes
    checkpoint = Checkpoint(view)
    assert checkpoint.complete and checkpoint.unexpected() == []


def test_what_does_not_fit_is_refused(svd, whole):
    base = of("svd.safetensors", svd)
    changes = {key: value for key, value in whole.items() if is_changed(key)}
    key = next(key for key in changes if key.endswith("cc_projection.weight"))
    short = {other: value for other, value in changes.items() if other != key}
    for tensors, said in (
        (short, "is missing"),
        (changes | {key: torch.zeros(32, 32)}, r"is \[32, 32\] instead of \[32, 44\]"),
    ):
        with pytest.raises(CheckpointError, match=f"one of .* tensors with which MotionCtrl .*{said}"):
            over_svd(base, of("motionctrl.safetensors", tensors))
    with pytest.raises(CheckpointError, match="has no layers over time that MotionCtrl changes"):
        over_svd(of("vae.safetensors", {"decoder.conv_in.weight": torch.zeros(1)}), of("m", changes))
