"""Networks of diffusers and transformers with our networks' weights."""

from accelerate import init_empty_weights
from diffusers import (
    AutoencoderKLTemporalDecoder,
    EulerDiscreteScheduler,
    StableVideoDiffusionPipeline,
    UNetSpatioTemporalConditionModel,
)
from torch import nn
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from stillmotion.svd_model.networks.unet import VideoUNet
from stillmotion.svd_model.networks.vae import ImageEncoder, VideoDecoder
from stillmotion.svd_model.networks.vision import MEAN, STD, VisionTransformer
from support import diffusers_keys


def unet(ours: VideoUNet) -> UNetSpatioTemporalConditionModel:
    p = ours.params
    widths = tuple(mult * p.model_channels for mult in p.channel_mult)
    with init_empty_weights():
        theirs = UNetSpatioTemporalConditionModel(
            in_channels=p.in_channels,
            out_channels=p.out_channels,
            block_out_channels=widths,
            addition_time_embed_dim=p.vector_dim // 3,
            projection_class_embeddings_input_dim=p.vector_dim,
            layers_per_block=p.num_res_blocks,
            cross_attention_dim=p.context_dim,
            num_attention_heads=tuple(width // p.head_channels for width in widths),
        )
    return _with_weights(theirs, diffusers_keys.unet(ours.state_dict()))


def vae(encoder: ImageEncoder, decoder: VideoDecoder) -> AutoencoderKLTemporalDecoder:
    p = decoder.params
    with init_empty_weights():
        theirs = AutoencoderKLTemporalDecoder(
            block_out_channels=tuple(mult * p.channels for mult in p.channel_mult),
            down_block_types=("DownEncoderBlock2D",) * len(p.channel_mult),
            layers_per_block=p.num_res_blocks,
            latent_channels=p.z_channels,
        )
    return _with_weights(theirs, diffusers_keys.vae(encoder.state_dict(), decoder.state_dict()))


def vision(ours: VisionTransformer) -> CLIPVisionModelWithProjection:
    p = ours.params
    config = CLIPVisionConfig(
        hidden_size=p.width,
        intermediate_size=p.mlp_width,
        projection_dim=p.output_dim,
        num_hidden_layers=p.layers,
        num_attention_heads=p.width // p.head_width,
        image_size=p.image_size,
        patch_size=p.patch_size,
        hidden_act="gelu",
    )
    with init_empty_weights():
        theirs = CLIPVisionModelWithProjection(config)
    return _with_weights(theirs, diffusers_keys.vision(ours.state_dict()))


def scheduler() -> EulerDiscreteScheduler:
    """Scheduler as the published SVD checkpoints configure it."""
    return EulerDiscreteScheduler(
        beta_end=0.012,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        interpolation_type="linear",
        num_train_timesteps=1000,
        prediction_type="v_prediction",
        sigma_max=700.0,
        sigma_min=0.002,
        steps_offset=1,
        timestep_spacing="leading",
        timestep_type="continuous",
        use_karras_sigmas=True,
    )


def pipeline(
    our_unet: VideoUNet, encoder: ImageEncoder, decoder: VideoDecoder, tower: VisionTransformer
) -> StableVideoDiffusionPipeline:
    processor = CLIPImageProcessor(
        crop_size={"height": 224, "width": 224}, image_mean=list(MEAN), image_std=list(STD), size=224
    )
    theirs = StableVideoDiffusionPipeline(
        vae=vae(encoder, decoder),
        image_encoder=vision(tower),
        unet=unet(our_unet),
        scheduler=scheduler(),
        feature_extractor=processor,
    )
    theirs.set_progress_bar_config(disable=True)
    return theirs


def _with_weights(module: nn.Module, state: dict) -> nn.Module:
    module.load_state_dict(state, strict=True, assign=True)  # shares the tensors: a full-size UNet is 6 GB
    return module.eval().requires_grad_(False)
