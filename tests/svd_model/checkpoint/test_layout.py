"""Where the networks lie in the released files, their sizes by shapes, and what other files are taken for."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from stillmotion.svd_model.checkpoint import Checkpoint, layout
from stillmotion.svd_model.checkpoint.official_files import OFFICIAL_FILES
from stillmotion.svd_model.checkpoint.sources import CheckpointError, TensorFile
from stillmotion.svd_model.networks.unet import UNetParams, VideoUNet
from stillmotion.svd_model.networks.vae import ImageEncoder, VAEParams, VideoDecoder
from stillmotion.svd_model.networks.vision import VisionParams, VisionTransformer
from support import checkpoints, tiny

GOLDEN = Path(__file__).parents[2] / "golden"
RELEASED = ("svd_xt", "svd_xt_image_decoder", "sv3d_u", "sv3d_p")
NETWORKS = ("unet", "vision", "encoder", "decoder")

UNET = "model.diffusion_model."
CLIP = "conditioner.embedders.0.open_clip.model."
SVD_VAE, SV3D_VAE = "conditioner.embedders.3.encoder.", "conditioner.embedders.1.encoder."
DECODER = "first_stage_model.decoder."

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


def refuse(key: str):
    pytest.fail(f"the tensor {key} was read")


def of_header(shapes, path="model.safetensors", dtype: torch.dtype = torch.float16) -> TensorFile:
    """A file of which only the header can be read."""
    return TensorFile(Path(path), 1, dict(shapes), dict.fromkeys(shapes, dtype), {}, refuse)


@cache
def released(name: str) -> dict[str, tuple[int, ...]]:
    keys = json.loads((GOLDEN / f"keys_{name}.json").read_text())
    return {key: tuple(shape) for key, shape in keys.items()}


@cache
def checkpoint(name: str) -> Checkpoint:
    return Checkpoint(of_header(released(name)))


def without(shapes, *prefixes: str) -> dict[str, tuple[int, ...]]:
    return {key: shape for key, shape in shapes.items() if not key.startswith(prefixes)}


def only(shapes, *prefixes: str) -> dict[str, tuple[int, ...]]:
    return {key: shape for key, shape in shapes.items() if key.startswith(prefixes)}


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

    @pytest.mark.parametrize("stray", ["32.ln_1.x", "40.ln_1.weight", "last.ln_1.weight"])
    def test_blocks_are_counted_up_to_the_first_that_is_not_there(self, stray):
        shapes = without(released("svd_xt"), CLIP + "visual.transformer.resblocks.32.")
        count = layout.vision_params(layout.below(shapes, CLIP + "visual.")).layers
        stray_key = "transformer.resblocks." + stray
        found = layout.vision_params(layout.below(shapes, CLIP + "visual.") | {stray_key: (1280,)}).layers
        assert count == 32
        assert found == (33 if stray.startswith("32.") else 32)

    def test_a_trainer_s_own_tensors_are_known_and_others_unexpected(self):
        extra = {"model_ema.decay": (), "denoiser.sigmas": (1000,), "my.own.key": (3,)}
        extra[UNET + "input_blocks.0.0.extra"] = (2,)
        file = Checkpoint(of_header(released("svd_xt") | extra))
        assert file.complete
        assert file.unexpected() == ["my.own.key", UNET + "input_blocks.0.0.extra"]
        assert {"model_ema.decay", "denoiser.sigmas"} <= set(file.not_needed())


def tiny_shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of a tiny checkpoint, without drawing its values."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints.NamedTensors, "weight", lambda self, key, shape: torch.empty(shape))
        return {key: tuple(tensor.shape) for key, tensor in checkpoints.tensors(kind).items()}


def shapes_of(module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


class TestSizesByShapes:
    @pytest.mark.parametrize("kind", checkpoints.VECTOR_DIMS)
    def test_of_the_tiny_checkpoints(self, kind):
        file = Checkpoint(of_header(tiny_shapes(kind)))
        assert file.unet.params == replace(tiny.UNET, vector_dim=checkpoints.VECTOR_DIMS[kind])
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
            replace(tiny.UNET, model_channels=64, head_channels=32, context_dim=48, vector_dim=100),
        ],
    )
    def test_of_a_unet(self, params):
        assert layout.unet_params(shapes_of(VideoUNet(params, device="meta"))) == params

    def test_heads_of_a_unet_are_given_or_64_wide_or_half_the_channels(self):
        shapes = shapes_of(VideoUNet(tiny.UNET, device="meta"))
        assert layout.unet_params(shapes, 8).head_channels == 8
        assert layout.unet_params(shapes).head_channels == 16
        assert layout.unet_params({"input_blocks.0.0.weight": (320, 8, 3, 3)}).head_channels == 64

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
        assert layout.encoder_params(shapes_of(encoder)) == params
        for temporal in (False, True):
            decoder = VideoDecoder(params, temporal=temporal, post_quant_conv=False, device="meta")
            assert layout.decoder_params(shapes_of(decoder)) == params

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
        assert layout.vision_params(shapes_of(VisionTransformer(params, device="meta"))) == params

    def test_heads_of_an_image_tower_are_given_or_80_wide_or_a_quarter_of_the_width(self):
        assert layout.vision_params({"class_embedding": (64,)}, 32).head_width == 32
        assert layout.vision_params({"class_embedding": (64,)}).head_width == 16
        assert layout.vision_params({"class_embedding": (1280,)}).head_width == 80

    def test_without_any_key_the_sizes_are_the_released_ones(self):
        # So that the report of a file without a network lists the keys of the network that is expected.
        assert layout.unet_params({}) == UNetParams()
        assert layout.encoder_params({}) == layout.decoder_params({}) == VAEParams()
        assert layout.vision_params({}) == VisionParams()


SD_UNET = (UNET + "time_embed.0.weight", UNET + "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight")
SD_VAE = ("first_stage_model.encoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight")
SVD_UNET_PARTS = ("input_blocks.0.0.weight", "input_blocks.1.0.time_stack.in_layers.0.weight")

OTHERS = [
    (
        "Stable Diffusion 1.5",
        (*SD_UNET, *SD_VAE, "cond_stage_model.transformer.text_model.final_layer_norm.bias"),
    ),
    ("Stable Diffusion 2", (*SD_UNET, *SD_VAE, "cond_stage_model.model.transformer.resblocks.0.ln_1.weight")),
    (
        "SDXL",
        (
            *SD_UNET,
            *SD_VAE,
            UNET + "label_emb.0.0.weight",
            "conditioner.embedders.0.transformer.text_model.encoder.layers.0.layer_norm1.weight",
            "conditioner.embedders.1.model.transformer.resblocks.0.ln_1.weight",
        ),
    ),
    (
        "an SDXL refiner",
        (*SD_UNET, *SD_VAE, "conditioner.embedders.0.model.transformer.resblocks.0.ln_1.weight"),
    ),
    ("Stable Diffusion 3", (UNET + "joint_blocks.0.context_block.attn.qkv.weight", UNET + "pos_embed")),
    ("Flux", ("double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight", "img_in.weight")),
    ("Flux", (UNET + "double_blocks.0.img_attn.qkv.weight", UNET + "single_blocks.0.linear1.weight")),
    (
        "a LoRA",
        (
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight",
            "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.alpha",
        ),
    ),
    ("a LoRA", ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight",)),
    ("a LoRA", ("base_model.model.down_blocks.0.attentions.0.proj_in.lora_B.weight",)),
    ("a LoRA", ("diffusion_model.input_blocks.1.1.time_stack.0.attn1.to_q.lora_up.weight",)),
    (
        "a LoRA",
        ("unet.down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn1.to_q.lora_A.weight",),
    ),
    ("a LoRA", ("unet.down_blocks.0.resnets.0.temporal_res_block.conv1.lora_A.weight",)),
    (
        "a LoRA",
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",),
    ),
    ("a LyCORIS", ("lycoris_unet_down_blocks_0_resnets_0_conv1.lokr_w1",)),
    ("a LyCORIS", ("lycoris_unet_down_blocks_0_resnets_0_conv1.hada_w1_a",)),
    (
        "a LyCORIS",
        ("lora_unet_input_blocks_1_1_proj_in.hada_w1_a", "lora_unet_input_blocks_1_1_proj_in.alpha"),
    ),
    ("a LyCORIS", ("lora_unet_input_blocks_1_1_proj_in.lokr_w2_a",)),
    ("a ControlNet", ("control_model.input_hint_block.0.weight", "control_model.zero_convs.0.0.weight")),
    (
        "a ControlNet in diffusers' layout",
        ("controlnet_cond_embedding.conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"),
    ),
    (
        "a ControlNet",
        (
            "controlnet_cond_embedding.conv_in.weight",
            "down_blocks.0.resnets.0.temporal_res_block.conv1.weight",
        ),
    ),
    ("a VAE only", ("encoder.conv_in.weight", "decoder.conv_in.weight", "quant_conv.weight")),
    ("a VAE only", SD_VAE),
    ("a VAE decoder only", ("decoder.conv_in.weight", "decoder.up.0.block.0.conv1.weight")),
    ("a CLIP image tower only", ("visual.conv1.weight", "visual.transformer.resblocks.0.ln_1.weight")),
    (
        "a CLIP vision model only",
        ("vision_model.embeddings.class_embedding", "vision_model.encoder.layers.0.layer_norm1.weight"),
    ),
    ("a CLIP text encoder", ("text_model.encoder.layers.0.self_attn.q_proj.weight",)),
    (
        "an AnimateDiff motion module",
        ("down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.norms.0.weight",),
    ),
    # SV4D's UNet (sgm's SpatialUNetModelWithTime) has time_mix_blocks where SVD's has time_stack.
    (
        "SV4D",
        (
            UNET + "input_blocks.1.0.time_mix_blocks.in_layers.0.weight",
            UNET + "input_blocks.1.1.time_mix_blocks.0.attn1.to_q.weight",
            UNET + "input_blocks.1.1.motion_blocks.0.attn1.to_q.weight",
        ),
    ),
    (
        # And AnimateLCM-SVD-xt.safetensors as its authors released it.
        "an SVD UNet in diffusers' layout",
        (
            "down_blocks.0.resnets.0.spatial_res_block.conv1.weight",
            "down_blocks.0.resnets.0.temporal_res_block.conv1.weight",
            "down_blocks.0.attentions.0.temporal_transformer_blocks.0.ff_in.net.0.proj.weight",
        ),
    ),
    (
        "an SVD decoder in diffusers' layout",
        ("decoder.mid_block.resnets.0.temporal_res_block.conv1.weight", "decoder.time_conv_out.weight"),
    ),
    (
        "a UNet for single images in diffusers' layout",
        ("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight", "mid_block.resnets.0.conv1.weight"),
    ),
    ("a UNet for single images, without temporal layers", SD_UNET),
    ("an SVD UNet", tuple("diffusion_model." + key for key in SVD_UNET_PARTS)),
    ("an SVD UNet", SVD_UNET_PARTS),
    ("a model unknown to Stillmotion", ("encoder.layer.0.attention.self.query.weight", "pooler.dense.bias")),
]


def subject(case) -> str:
    return case if isinstance(case, str) else case[0][:40]


class TestOtherModels:
    @pytest.mark.parametrize(("what", "keys"), OTHERS, ids=subject)
    def test_the_message_names_it(self, what, keys):
        with pytest.raises(CheckpointError, match="not an SVD checkpoint") as refusal:
            Checkpoint(of_header(dict.fromkeys(keys, (8,)), "other.safetensors"))
        assert f"other.safetensors looks like {what}" in str(refusal.value)
        assert OFFICIAL_FILES in str(refusal.value)

    @pytest.mark.parametrize(
        ("keys", "never"),
        [
            (
                (UNET + "transformer_blocks.0.attn1.to_q.weight", "vae.encoder.conv_in.weight"),
                "single images",
            ),
            (
                # DynamiCrafter, a video model on Stable Diffusion 2's layout; the typing error is its own.
                (
                    *SD_UNET,
                    UNET + "input_blocks.1.0.temopral_conv.conv1.0.weight",
                    "cond_stage_model.model.transformer.resblocks.0.ln_1.weight",
                    "image_proj_model.latents",
                ),
                "Stable Diffusion 2",
            ),
            (
                (
                    "double_blocks.0.img_attn_qkv.weight",
                    "single_blocks.0.linear1.weight",
                    "txt_in.t_embedder.0",
                ),
                "Flux",
            ),
        ],
        ids=["LTX-Video", "DynamiCrafter", "HunyuanVideo"],
    )
    def test_other_video_models_are_not_taken_for_image_models(self, keys, never):
        assert never not in layout.looks_like(dict.fromkeys(keys, (8,)))

    def test_names_what_can_be_used_instead(self):
        with pytest.raises(CheckpointError) as refusal:
            Checkpoint(of_header({"something.weight": (3,)}))
        for name in ("svd", "svd_xt", "svd_xt_1_1", "svd_xt_image_decoder", "sv3d_u", "sv3d_p"):
            assert name in str(refusal.value)

    def test_an_svd_unet_alone_lacks_the_other_three_networks(self):
        file = Checkpoint(of_header(only(released("svd_xt"), UNET)))
        assert not file.complete
        assert [network.whole for network in (file.unet, file.vision, file.encoder)] == [True, False, False]
        assert len(file.decoder.missing) == len(file.decoder.expected)
        assert len(file.vision.missing) == 392
        assert len(file.encoder.missing) == 106

    @pytest.mark.parametrize(
        ("key", "shape"),
        [
            (UNET + "label_emb.0.0.weight", (1280, 512)),
            (UNET + "input_blocks.0.0.weight", (320, 4, 3, 3)),
            (UNET + "out.2.weight", (8, 320, 3, 3)),
        ],
    )
    def test_a_video_model_of_another_conditioning_is_refused_with_its_numbers(self, key, shape):
        with pytest.raises(CheckpointError, match=rf"no known one: .*{min(shape[:2])}"):
            Checkpoint(of_header(released("svd_xt") | {key: shape}))

    def test_sv3d_with_a_temporal_decoder_is_no_released_model(self):
        shapes = released("svd_xt") | {UNET + "label_emb.0.0.weight": (1280, 256)}
        with pytest.raises(CheckpointError, match="vector of 256"):
            Checkpoint(of_header(shapes))
