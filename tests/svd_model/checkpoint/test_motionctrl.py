"""MotionCtrl's checkpoint: the whole of it is used, and it never passes for svd."""

import pytest

from stillmotion.svd_model.checkpoint.sources import CheckpointError
from support import golden_family, headers
from support.headers import UNET

LAYER = "input_blocks.1.1.time_stack.0.cc_projection."


def test_the_released_file_has_each_tensor_of_our_networks_and_no_other():
    file = headers.checkpoint(golden_family.keys("motionctrl_svd"))
    assert file.variant.name == "motionctrl_svd"
    assert file.complete and file.unexpected() == []
    svd = headers.checkpoint(headers.released("svd_xt"))
    assert file.not_needed() == svd.not_needed()
    assert len(file.unet.expected) == len(svd.unet.expected) + 32


def test_it_is_known_beside_a_frame_wise_decoder_too():
    """A UNet of MotionCtrl with the VAE of an image-decoder file, as --vae puts them together."""
    unet = {key: shape for key, shape in headers.tiny("motionctrl_svd").items() if key.startswith(UNET)}
    file = headers.checkpoint(headers.tiny("svd_image_decoder") | unet)
    assert file.variant.name == "motionctrl_svd" and file.variant.camera_dim == 12
    assert not file.variant.temporal_decoder
    assert file.complete and file.unexpected() == []


def test_a_file_without_some_of_the_cameras_layers_is_not_whole():
    shapes = headers.tiny("motionctrl_svd")
    file = headers.checkpoint(headers.without(shapes, UNET + LAYER))
    assert file.variant.name == "motionctrl_svd" and not file.complete
    assert set(file.unet.missing) == {UNET + LAYER + "weight", UNET + LAYER + "bias"}


def test_the_bias_of_one_layer_tells_that_the_file_is_none_of_svds():
    shapes = headers.tiny("svd") | {UNET + LAYER + "bias": (32,)}
    file = headers.checkpoint(shapes)
    assert file.variant.name == "motionctrl_svd" and not file.complete


@pytest.mark.parametrize("width", [31, 32, 38, 45, 2**40])
def test_layers_for_other_numbers_than_a_cameras_are_refused(width):
    shapes = headers.tiny("motionctrl_svd")
    shapes = shapes | {key: (32, width) for key in shapes if key.endswith(LAYER + "weight")}
    with pytest.raises(
        CheckpointError, match=r"no known one: .* numbers of a camera; .*MotionCtrl-SVD 8, 768"
    ):
        headers.checkpoint(shapes)
