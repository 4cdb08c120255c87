"""What other files are taken for, and which number formats are refused."""

import json

import pytest
import torch

from stillmotion.svd_model.checkpoint.kinds import find_kind
from stillmotion.svd_model.checkpoint.official_files import OFFICIAL_FILES
from support import headers
from support.headers import UNET, VISION, checkpoint, only, released
from support.refusals import refusal

SD_UNET = (UNET + "time_embed.0.weight", UNET + "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight")
SD_VAE = ("first_stage_model.encoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight")


def listed(name: str) -> dict:
    """Keys of a file of full size, with their shapes."""
    return json.loads((headers.GOLDEN / "family" / f"keys_{name}.json").read_text())


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
    ("a LoKr", ("lycoris_unet_down_blocks_0_resnets_0_conv1.lokr_w1",)),
    ("a LoHa", ("lycoris_unet_down_blocks_0_resnets_0_conv1.hada_w1_a",)),
    (
        "a LoHa",
        ("lora_unet_input_blocks_1_1_proj_in.hada_w1_a", "lora_unet_input_blocks_1_1_proj_in.alpha"),
    ),
    ("a LoKr", ("lora_unet_input_blocks_1_1_proj_in.lokr_w2_a",)),
    ("a ControlNet", ("control_model.input_hint_block.0.weight", "control_model.zero_convs.0.0.weight")),
    (
        "a ControlNet in diffusers' layout",
        ("controlnet_cond_embedding.conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"),
    ),
    (
        "a temporal ControlNet",
        (
            "controlnet_cond_embedding.conv_in.weight",
            "down_blocks.0.resnets.0.temporal_res_block.conv1.weight",
        ),
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
        "a UNet for single images in diffusers' layout",
        ("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight", "mid_block.resnets.0.conv1.weight"),
    ),
    ("a UNet for single images, without temporal layers", SD_UNET),
    ("a LoRA", ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora.down.weight",)),
    (
        "a LoRA of whole differences",
        ("diffusion_model.input_blocks.1.1.time_stack.0.attn1.to_q.diff", "diffusion_model.out.2.diff_b"),
    ),
    (
        "the state of a training",
        (
            "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.base_layer.weight",
            "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.default.weight",
            "down_blocks.0.resnets.0.temporal_res_block.conv1.weight",
        ),
    ),
    ("a DoRA", ("unet.mid_block.attentions.0.proj_in.lora_A.weight", "unet.mid_block.dora_scale")),
    ("a temporal ControlNet for SVD", tuple(listed("temporal_controlnet"))),
    ("a ControlNeXt for SVD", tuple(listed("controlnext_svd_v1"))),
    ("a ControlNeXt for SVD", tuple(listed("controlnext_svd_v2"))),
    ("a CameraCtrl for SVD", tuple(listed("cameractrl_svdxt"))),
    ("an ExVideo", tuple(listed("exvideo_svd_128f"))),
    (
        "the camera's layers of MotionCtrl-SVD without the other ones",
        (*listed("motionctrl_svd_deltas"), *listed("motionctrl_svd_retrained")),
    ),
    ("a decoder of previews (TAESD or TAESDV)", tuple(listed("taesdv"))),
    ("a decoder of previews (TAESD or TAESDV)", tuple(listed("taesd_decoder"))),
    (
        "a decoder of previews (TAESD or TAESDV)",
        tuple("taesd_decoder." + key for key in listed("taesd_decoder")),
    ),
    ("MimicMotion", ("unet.down_blocks.0.resnets.0.temporal_res_block.conv1.weight", "pose_net.conv.weight")),
    (
        "Sonic",
        (
            "down_blocks.0.resnets.0.temporal_res_block.conv1.weight",
            "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_ip.weight",
        ),
    ),
    ("a model unknown to Stillmotion", ("encoder.layer.0.attention.self.query.weight", "pooler.dense.bias")),
]


def subject(case) -> str:
    return case if isinstance(case, str) else case[0][:40]


class TestOtherModels:
    @pytest.mark.parametrize(("what", "keys"), OTHERS, ids=subject)
    def test_the_message_names_it(self, what, keys):
        with refusal("other.safetensors", what, OFFICIAL_FILES):
            checkpoint(dict.fromkeys(keys, (8,)), path="other.safetensors")

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
        assert never not in find_kind(dict.fromkeys(keys, (8,))).words

    @pytest.mark.parametrize(
        ("what", "keys"),
        [
            ("a temporal VAE", listed("diffusers_svd_vae")),
            ("a VAE of single images", ("encoder.conv_in.weight", "decoder.conv_in.weight")),
            ("a CLIP image tower", ("visual.conv1.weight", "visual.transformer.resblocks.0.ln_1.weight")),
            ("a CLIP image tower", listed("diffusers_svd_image_encoder")),
        ],
        ids=["diffusers' VAE", "VAE", "OpenCLIP", "transformers"],
    )
    def test_a_part_alone_is_named_with_what_it_goes_beside(self, what, keys):
        with refusal("other.safetensors", what, "beside a file with a UNet"):
            checkpoint(dict.fromkeys(keys, (8,)), path="other.safetensors")

    def test_names_what_can_be_used_instead(self):
        with refusal("svd", "svd_xt", "svd_xt_1_1", "svd_xt_image_decoder", "sv3d_u", "sv3d_p"):
            checkpoint({"something.weight": (3,)})

    def test_an_svd_unet_alone_lacks_the_other_three_networks(self):
        file = checkpoint(only(released("svd_xt"), UNET))
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
        with refusal("no known one", f" {min(shape[:2])}"):
            checkpoint(released("svd_xt") | {key: shape})

    def test_sv3d_with_a_temporal_decoder_is_no_released_model(self):
        shapes = released("svd_xt") | {UNET + "label_emb.0.0.weight": (1280, 256)}
        with refusal("vector of 256"):
            checkpoint(shapes)


class TestNumberFormats:
    @pytest.mark.parametrize("dtype", ["I8", "U8", "F8_E8M0", "C64", torch.int8, torch.bool, torch.complex64])
    @pytest.mark.parametrize("key", [UNET + "time_embed.0.weight", VISION + "proj"])
    def test_weights_that_are_no_floats_are_refused(self, key, dtype):
        name = str(dtype).removeprefix("torch.")
        with refusal("model.safetensors", f"{name} numbers", key, "float16"):
            checkpoint(headers.tiny(), {key: dtype})

    @pytest.mark.parametrize(
        "key",
        [
            "conditioner.embedders.0.open_clip.model.logit_scale",
            "model_ema.num_updates",
            "first_stage_model.loss.discriminator.main.3.num_batches_tracked",
        ],
    )
    def test_what_is_not_needed_may_be_of_any_kind(self, key):
        assert checkpoint(headers.tiny() | {key: ()}, {key: "I64"}).complete
