"""Sizes of networks, read off their shapes."""

from dataclasses import replace

import pytest

from stillmotion.svd_model.checkpoint import sizes
from stillmotion.svd_model.networks.unet import UNetParams, VideoUNet
from stillmotion.svd_model.networks.vae import ImageEncoder, VAEParams, VideoDecoder
from stillmotion.svd_model.networks.vision import VisionParams, VisionTransformer
from support import checkpoints, headers, tiny
from support.headers import VISION, released, without
from support.refusals import refusal


def shapes_of(module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


class TestSizesByShapes:
    @pytest.mark.parametrize("kind", checkpoints.VECTOR_DIMS)
    def test_of_the_tiny_checkpoints(self, kind):
        file = headers.checkpoint(headers.tiny(kind))
        assert file.unet.params == checkpoints.unet_params(kind)
        assert file.encoder.params == file.decoder.params == tiny.VAE
        assert file.vision.params == tiny.VISION
        assert file.complete

    @pytest.mark.parametrize(
        "params",
        [
            tiny.UNET,
            replace(tiny.UNET, in_channels=9, out_channels=5),
            replace(tiny.UNET, channel_mult=(1, 2), num_res_blocks=3, attention_levels=1),
            replace(tiny.UNET, channel_mult=(2, 2, 3), num_res_blocks=1, attention_levels=3),
            replace(tiny.UNET, channel_mult=(1,), num_res_blocks=1, attention_levels=0),
            replace(tiny.UNET, camera_dim=12),
            replace(tiny.UNET, model_channels=64, head_channels=32, context_dim=48, vector_dim=100),
        ],
    )
    def test_of_a_unet(self, params):
        assert sizes.unet_params(shapes_of(VideoUNet(params, device="meta"))) == params

    def test_heads_of_a_unet_are_given_or_64_wide_or_half_the_channels(self):
        shapes = shapes_of(VideoUNet(tiny.UNET, device="meta"))
        assert sizes.unet_params(shapes, 8).head_channels == 8
        assert sizes.unet_params(shapes).head_channels == 16
        assert sizes.unet_params({"input_blocks.0.0.weight": (320, 8, 3, 3)}).head_channels == 64

    @pytest.mark.parametrize(
        "params",
        [
            tiny.VAE,
            replace(tiny.VAE, channel_mult=(1, 2), num_res_blocks=1, z_channels=8),
            replace(tiny.VAE, channels=64, channel_mult=(1, 3, 2), num_res_blocks=3, image_channels=4),
        ],
    )
    def test_of_an_encoder_and_a_decoder(self, params):
        encoder = ImageEncoder(params, quant_conv=True, device="meta")
        assert sizes.encoder_params(shapes_of(encoder)) == params
        for temporal in (False, True):
            decoder = VideoDecoder(params, temporal=temporal, post_quant_conv=False, device="meta")
            assert sizes.decoder_params(shapes_of(decoder)) == params

    @pytest.mark.parametrize(
        "params",
        [
            tiny.VISION,
            replace(tiny.VISION, layers=12, mlp_width=100, output_dim=7),
            replace(tiny.VISION, patch_size=32, image_size=96),
            replace(tiny.VISION, width=640, head_width=80),
        ],
    )
    def test_of_an_image_tower(self, params):
        assert sizes.vision_params(shapes_of(VisionTransformer(params, device="meta"))) == params

    def test_heads_of_an_image_tower_are_given_or_80_wide_or_a_quarter_of_the_width(self):
        assert sizes.vision_params({"class_embedding": (64,)}, 32).head_width == 32
        assert sizes.vision_params({"class_embedding": (64,)}).head_width == 16
        assert sizes.vision_params({"class_embedding": (1280,)}).head_width == 80

    def test_without_any_key_the_sizes_are_the_released_ones(self):
        # So that the report of a file without a network lists the keys of the network that is expected.
        assert sizes.unet_params({}) == UNetParams()
        assert sizes.encoder_params({}) == sizes.decoder_params({}) == VAEParams()
        assert sizes.vision_params({}) == VisionParams()

    @pytest.mark.parametrize("stray", ["32.ln_1.x", "40.ln_1.weight", "last.ln_1.weight"])
    def test_blocks_are_counted_up_to_the_first_that_is_not_there(self, stray):
        shapes = without(released("svd_xt"), VISION + "transformer.resblocks.32.")
        count = sizes.vision_params(sizes.below(shapes, VISION)).layers
        stray_key = "transformer.resblocks." + stray
        found = sizes.vision_params(sizes.below(shapes, VISION) | {stray_key: (1280,)}).layers
        assert count == 32
        assert found == (33 if stray.startswith("32.") else 32)


class TestSizesThatNoNetworkCanHave:
    @pytest.mark.parametrize("heads", [100, 24, 64])
    def test_heads_that_do_not_divide_the_channels_are_named(self, heads):
        checkpoint = headers.checkpoint(headers.tiny(), metadata={"head_channels": heads})
        with refusal("model.safetensors", "UNet", "32 channels", f"heads of {heads}", "metadata"):
            checkpoint.unet  # noqa: B018 (the property raises)

    @pytest.mark.parametrize("heads", [1, 8, 16, 32])
    def test_heads_that_divide_them_are_the_files(self, heads):
        checkpoint = headers.checkpoint(headers.tiny(), metadata={"head_channels": heads})
        assert checkpoint.complete
        assert checkpoint.unet.params.head_channels == heads

    @pytest.mark.parametrize(("prefix", "part"), [(headers.UNET, "unet"), (headers.DECODER, "decoder")])
    @pytest.mark.parametrize("width", [31, 48])
    def test_widths_that_the_groups_do_not_divide_are_named(self, prefix, part, width):
        """Of all layers together, so that the shapes fit each other; 32 before."""
        tiny_shapes, kept = headers.tiny(), ("label_emb.0.0.weight",)

        def narrowed(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
            first = shape[0] // 32 * width if shape and shape[0] % 32 == 0 else None
            if not key.startswith(prefix) or first is None or key.endswith(kept):
                return shape
            return (first, *shape[1:])

        shapes = {key: narrowed(key, shape) for key, shape in tiny_shapes.items()}
        with refusal("model.safetensors", f"is {width} channels wide", "multiples of 32"):
            getattr(headers.checkpoint(shapes), part)

    @pytest.mark.parametrize("params", [UNetParams(), VAEParams(), VisionParams(), tiny.UNET, tiny.VAE])
    def test_released_and_tiny_sizes_are_possible(self, params):
        assert sizes.why_impossible(params) is None
