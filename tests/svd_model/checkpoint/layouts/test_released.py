"""The released files: where their networks lie, and what of them inference does without."""

import math
from functools import cache

import pytest

from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.networks.unet import UNetParams
from stillmotion.svd_model.networks.vae import VAEParams
from stillmotion.svd_model.networks.vision import VisionParams
from support.headers import CLIP, DECODER, RELEASED, SV3D_VAE, SVD_VAE, UNET, only, released, without
from support.headers import file as of_header

NETWORKS = ("unet", "vision", "encoder", "decoder")


# What inference needs of the released files, and what it does not, written out here on purpose.
NEEDED = {
    "svd_xt": {
        "unet": (UNET,),
        "vision": (CLIP + "visual.",),
        "encoder": (SVD_VAE + "encoder.", SVD_VAE + "quant_conv."),
        "decoder": (DECODER,),
    },
    "svd_xt_image_decoder": {
        "unet": (UNET,),
        "vision": (CLIP + "visual.",),
        "encoder": (SVD_VAE + "encoder.", SVD_VAE + "quant_conv."),
        "decoder": (DECODER, "first_stage_model.post_quant_conv."),
    },
    "sv3d_u": {
        "unet": (UNET,),
        "vision": (CLIP + "visual.",),
        "encoder": (SV3D_VAE + "encoder.", SV3D_VAE + "quant_conv."),
        "decoder": (DECODER,),
    },
}
NEEDED["sv3d_p"] = NEEDED["sv3d_u"]
TEXT_TOWER = tuple(
    CLIP + part
    for part in ("positional_embedding", "text_projection", "logit_scale", "token_embedding.", "ln_final.")
)
CONDITION_DECODER = {
    name: tuple(vae + part for part in ("decoder.", "post_quant_conv."))
    for name, vae in zip(RELEASED, (SVD_VAE, SVD_VAE, SV3D_VAE, SV3D_VAE), strict=True)
}
FIRST_STAGE_ENCODER = ("first_stage_model.encoder.", "first_stage_model.quant_conv.")

# Sizes known from elsewhere: ViT-H/14's image tower; Stable Diffusion's VAE of 83 653 863, of which the
# encoder has 34 163 592, quant_conv 72, post_quant_conv 20; diffusers' temporal VAE of 97 742 847.
CLIP_PARAMETERS = 632_076_800
ENCODER_PARAMETERS = 34_163_592 + 72
FRAME_WISE_PARAMETERS = 83_653_863 - ENCODER_PARAMETERS - 20
TEMPORAL_PARAMETERS = 97_742_847 - ENCODER_PARAMETERS


@cache
def checkpoint(name: str) -> Checkpoint:
    return Checkpoint(of_header(released(name)))


every_file = pytest.mark.parametrize("name", RELEASED)


every_network = pytest.mark.parametrize("network", NETWORKS)


class TestReleasedFiles:
    @every_file
    def test_every_key_is_either_needed_or_known_not_to_be(self, name):
        needed = tuple(prefix for prefixes in NEEDED[name].values() for prefix in prefixes)
        not_needed = (*TEXT_TOWER, *CONDITION_DECODER[name], *FIRST_STAGE_ENCODER)
        for key in released(name):
            assert key.startswith(needed) != key.startswith(not_needed), key

    @every_file
    @every_network
    def test_the_network_has_exactly_the_keys_and_shapes_of_the_file(self, name, network):
        report = getattr(checkpoint(name), network)
        state = report.build(device="meta").state_dict()
        built = {report.prefix + key: tuple(tensor.shape) for key, tensor in state.items()}
        assert built == only(released(name), *NEEDED[name][network])
        assert report.whole
        assert report.missing == report.mismatched == ()

    @every_file
    def test_nothing_is_missing_unexpected_or_left_over(self, name):
        needed = tuple(prefix for prefixes in NEEDED[name].values() for prefix in prefixes)
        assert checkpoint(name).complete
        assert checkpoint(name).unexpected() == []
        assert checkpoint(name).not_needed() == list(without(released(name), *needed))

    @every_file
    def test_the_variant_follows_from_the_keys(self, name):
        assert checkpoint(name).variant.name == name

    @pytest.mark.parametrize(
        ("name", "network", "parameters"),
        [
            ("svd_xt", "decoder", TEMPORAL_PARAMETERS),
            ("svd_xt_image_decoder", "decoder", FRAME_WISE_PARAMETERS + 20),
            ("sv3d_u", "decoder", FRAME_WISE_PARAMETERS),
            ("sv3d_p", "decoder", FRAME_WISE_PARAMETERS),
            *((name, "encoder", ENCODER_PARAMETERS) for name in RELEASED),
            *((name, "vision", CLIP_PARAMETERS) for name in RELEASED),
        ],
    )
    def test_parameter_counts_are_those_known_from_elsewhere(self, name, network, parameters):
        report = getattr(checkpoint(name), network)
        assert report.parameters == parameters
        assert report.size == 2 * parameters  # float16

    @every_file
    def test_the_unet_has_1_5246_billion_parameters(self, name):
        # But for the first layer of the vector's MLP, whose width differs.
        vector = {"sv3d_u": 256, "sv3d_p": 1280}.get(name, 768)
        report = checkpoint(name).unet
        assert report.parameters == sum(map(math.prod, only(released(name), UNET).values()))
        assert (report.parameters + (768 - vector) * 1280) / 1e9 == pytest.approx(1.5246, abs=5e-5)

    @every_file
    def test_sizes_are_the_defaults_but_for_the_vector(self, name):
        vector = {"sv3d_u": 256, "sv3d_p": 1280}.get(name, 768)
        file = checkpoint(name)
        assert file.unet.params == UNetParams(vector_dim=vector)
        assert file.encoder.params == file.decoder.params == VAEParams()
        assert file.vision.params == VisionParams()

    @every_file
    @pytest.mark.parametrize(
        "part", ["text tower", "conditioning decoder", "first-stage encoder", "all three"]
    )
    def test_files_without_what_inference_does_not_use_are_whole(self, name, part):
        parts = {
            "text tower": TEXT_TOWER,
            "conditioning decoder": CONDITION_DECODER[name],
            "first-stage encoder": FIRST_STAGE_ENCODER,
        }
        prefixes = parts.get(part) or sum(parts.values(), ())
        file = Checkpoint(of_header(without(released(name), *prefixes)))
        assert file.complete
        assert file.variant == checkpoint(name).variant
        assert file.unexpected() == []
        if part == "all three":
            assert file.not_needed() == []

    @pytest.mark.parametrize(("name", "quant_conv"), [("svd_xt", False), ("svd_xt_image_decoder", True)])
    def test_without_a_conditioning_vae_the_first_stage_encodes(self, name, quant_conv):
        file = Checkpoint(of_header(without(released(name), SVD_VAE)))
        assert file.complete
        assert file.encoder.prefix == "first_stage_model."
        assert ("quant_conv.weight" in file.encoder.expected) == quant_conv
        assert not [key for key in file.not_needed() if key.startswith(FIRST_STAGE_ENCODER)]

    def test_sv3d_without_its_conditioning_vae_has_no_encoder(self):
        file = Checkpoint(of_header(without(released("sv3d_u"), SV3D_VAE)))
        assert not file.complete
        assert len(file.encoder.missing) == len(file.encoder.expected) == 106

    @pytest.mark.parametrize("kept", [True, False])
    def test_frames_can_be_decoded_one_by_one_where_a_frame_wise_decoder_is_in_the_file(self, kept):
        parts = CONDITION_DECODER["svd_xt"]
        file = checkpoint("svd_xt") if kept else Checkpoint(of_header(without(released("svd_xt"), *parts)))
        if not kept:
            assert file.frame_wise_decoder is None
            return
        report = file.frame_wise_decoder
        assert report.whole
        assert set(map(report.prefix.__add__, report.expected)) == set(only(released("svd_xt"), *parts))
        assert report.parameters == FRAME_WISE_PARAMETERS + 20

    def test_the_frame_wise_decoder_of_an_image_decoder_file_is_its_decoder(self):
        file = checkpoint("svd_xt_image_decoder")
        assert file.frame_wise_decoder is file.decoder

    @pytest.mark.parametrize(
        "key",
        [
            UNET + "input_blocks.0.0.weight",
            UNET + "input_blocks.3.0.op.weight",
            UNET + "input_blocks.4.0.in_layers.2.weight",
            UNET + "input_blocks.4.1.norm.weight",
            UNET + "input_blocks.8.1.norm.weight",
            UNET + "label_emb.0.0.weight",
            UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
            UNET + "out.2.weight",
            CLIP + "visual.class_embedding",
            CLIP + "visual.positional_embedding",
            CLIP + "visual.proj",
            CLIP + "visual.conv1.weight",
            CLIP + "visual.transformer.resblocks.0.mlp.c_fc.weight",
            CLIP + "visual.transformer.resblocks.31.ln_1.weight",
            SVD_VAE + "encoder.conv_out.weight",
            SVD_VAE + "encoder.conv_in.weight",
            SVD_VAE + "encoder.down.1.block.0.conv1.weight",
            SVD_VAE + "quant_conv.weight",
            DECODER + "conv_in.weight",
            DECODER + "norm_out.weight",
            DECODER + "conv_out.weight",
            DECODER + "up.2.block.0.conv1.weight",
            DECODER + "up.0.block.2.conv1.weight",
        ],
    )
    def test_one_lost_key_is_what_the_report_is_about(self, key):
        file = Checkpoint(of_header(without(released("svd_xt"), key)))
        reports = [network for network in file.networks if not network.whole]
        assert [(report.missing, report.mismatched) for report in reports] == [((key,), ())]

    def test_a_trainer_s_own_tensors_are_known_and_others_unexpected(self):
        extra = {"model_ema.decay": (), "denoiser.sigmas": (1000,), "my.own.key": (3,)}
        extra[UNET + "input_blocks.0.0.extra"] = (2,)
        file = Checkpoint(of_header(released("svd_xt") | extra))
        assert file.complete
        assert file.unexpected() == ["my.own.key", UNET + "input_blocks.0.0.extra"]
        assert {"model_ema.decay", "denoiser.sigmas"} <= set(file.not_needed())
