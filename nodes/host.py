"""Our networks inside of ComfyUI's own types: the one file that knows the host's classes.

Checked against ComfyUI 0.33. MODEL is a ModelPatcher over VideoModel, VAE is VideoVAE, CLIP_VISION is the
host's own with the weights of the checkpoint.
"""

from collections.abc import Callable
from functools import partial

import comfy.clip_vision
import comfy.conds
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models
import comfy.utils
import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor, nn

from ..svd_model import conditioning
from ..svd_model.checkpoint import Checkpoint, NetworkReport
from ..svd_model.unet import UNetParams, VideoUNet
from ..svd_model.vae import ImageEncoder, VideoDecoder
from ..svd_model.variants import Variant
from ..svd_model.vision import MEAN, STD

NUM_FRAMES = "stillmotion_num_frames"
"""The key for the frames of one video, in LATENT and CONDITIONING, where the batch holds several."""


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """The user's backend, accumulating in float32, since SVD's keys and values overflow float16."""
    return optimized_attention(q, k, v, heads, attn_precision=torch.float32)


class HostUNet(VideoUNet):
    """Our UNet as the host calls it."""

    def __init__(self, params: UNetParams, *, dtype: torch.dtype, device, operations, **unused_config):
        super().__init__(params, operations=operations, attention=attention, dtype=dtype, device=device)
        self.dtype = dtype

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        y: Tensor,
        num_video_frames: int,
        control=None,
        transformer_options: dict | None = None,
        **unused,
    ) -> Tensor:
        if control is not None:
            raise ValueError(
                "a ControlNet is connected; there is none for Stable Video Diffusion: take it out."
            )
        options = transformer_options or {}
        patch = _feature_patch(options)
        rows = x.shape[0]
        context, y = (comfy.utils.repeat_to_batch_size(tensor, rows) for tensor in (context, y))
        return super().forward(x, timesteps, context, y, num_video_frames, patch)


def _feature_patch(options: dict) -> Callable | None:
    """The graph's patches of output blocks, such as FreeU's; others are refused rather than ignored."""
    patches = dict(options.get("patches", {}))
    output_patches = patches.pop("output_block_patch", [])
    others = [name for name, found in patches.items() if found] + list(options.get("patches_replace", {}))
    if others:
        raise ValueError(
            f"a node patches this model's attention ({', '.join(sorted(others))}), which Stillmotion's UNet "
            "does not offer; take that node out, or load the model with core's ImageOnlyCheckpointLoader."
        )
    if not output_patches:
        return None

    def patch(index: int, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        for output_patch in output_patches:
            x, skip = output_patch(x, skip, {**options, "block": ("output", index)})
        return x, skip

    return patch


class VideoModel(comfy.model_base.BaseModel):
    """The diffusion model of one of our variants, with the conditioning of core's SVD nodes and of ours."""

    def __init__(self, config, variant: Variant, params: UNetParams, device=None):
        kind = comfy.model_base.ModelType.V_PREDICTION_EDM
        super().__init__(config, kind, device=device, unet_model=partial(HostUNet, params))
        self.variant = variant

    def extra_conds(self, **kwargs) -> dict:
        """The conditions of a batch: of one video, or of several of num_video_frames each."""
        noise = kwargs["noise"]
        num_frames = kwargs.get(NUM_FRAMES, noise.shape[0])
        latent = kwargs.get("concat_latent_image")
        latent = torch.zeros_like(noise) if latent is None else latent
        if latent.shape[1:] != noise.shape[1:]:
            raise ValueError(
                f"the conditioning is for latents of {latent.shape[3]}×{latent.shape[2]}, the latents are "
                f"{noise.shape[3]}×{noise.shape[2]}: give both nodes the same width and height."
            )
        latent = comfy.utils.repeat_to_batch_size(latent, noise.shape[0])
        conditions = {
            "y": comfy.conds.CONDRegular(self._vectors(num_frames, noise.shape[0], kwargs)),
            "c_concat": comfy.conds.CONDNoiseShape(latent),
            "num_video_frames": comfy.conds.CONDConstant(num_frames),
        }
        if kwargs.get("cross_attn") is not None:
            conditions["c_crossattn"] = comfy.conds.CONDCrossAttn(kwargs["cross_attn"])
        return conditions

    def _vectors(self, num_frames: int, rows: int, options: dict) -> Tensor:
        noise_aug = options.get("augmentation_level", 0.0)
        if not self.variant.orbit:
            motion_bucket_id = options.get("motion_bucket_id", 127)
            return conditioning.svd_vector(options.get("fps", 6) - 1, motion_bucket_id, noise_aug)
        if not self.variant.camera:
            return conditioning.sv3d_u_vector(noise_aug)
        elevations = _angles(options.get("elevation", 10.0), num_frames)
        azimuths = _angles(options.get("azimuth", conditioning.orbit_azimuths(num_frames)), num_frames)
        vectors = conditioning.orbit_vectors(noise_aug, elevations, azimuths)
        return vectors.repeat(rows // num_frames, 1)

    def memory_required(self, input_shape, cond_shapes=None) -> int:
        """Bytes that a pass over a batch of that shape takes besides the weights."""
        frames, _, height, width = input_shape
        dtype = self.get_dtype_inference()
        return self.diffusion_model.params.memory(frames, height, width, dtype)


def frames_of_video(conditions: list) -> int:
    """The frames of one video, from the conditions that a model got."""
    found = conditions[0].get("model_conds", {}).get("num_video_frames") if conditions else None
    if found is None:
        raise ValueError("this model is no video model; connect one of SVD Load Checkpoint, or core's SVD.")
    return found.cond


def _angles(given, num_frames: int) -> list[float]:
    angles = list(given) if hasattr(given, "__iter__") else [given]
    return angles * num_frames if len(angles) == 1 else angles


class FirstStage(nn.Module):
    """The encoder and the decoder as the host's VAE wants them, under the keys of the released files."""

    def __init__(self, encoder: ImageEncoder, decoder: VideoDecoder):
        super().__init__()
        self.encoder = encoder.encoder
        self.decoder = decoder.decoder
        self.quant_conv = encoder.quant_conv
        self.post_quant_conv = decoder.post_quant_conv
        self.temporal = decoder.temporal
        self.params = decoder.params

    def encode(self, images: Tensor) -> Tensor:
        """The mode of the posterior: (N, 3, H, W) in [−1, 1] -> (N, 4, H/8, W/8)."""
        return self.quant_conv(self.encoder(images))[:, : self.params.z_channels]

    def decode(self, z: Tensor, num_frames: int) -> Tensor:
        """(B·T, 4, h, w) -> (B·T, 3, 8h, 8w)."""
        return self.decoder(self.post_quant_conv(z), num_frames)


class VideoVAE(comfy.sd.VAE):
    """The host's VAE over our networks: temporal latents are always decoded as whole videos."""

    def __init__(self, first_stage: FirstStage, weights: dict[str, Tensor]):
        # Not the parent's: it looks for its own architectures in the weights. These are its attributes.
        params = first_stage.params
        self.first_stage_model = first_stage.eval().requires_grad_(False)
        self.downscale_ratio = self.upscale_ratio = params.downscale
        self.latent_channels, self.output_channels = params.z_channels, params.image_channels
        self.latent_dim = 2
        self.pad_channel_value = self.downscale_index_formula = self.upscale_index_formula = None
        self.extra_1d_channel = self.format_encoded = self.size = None
        self.crop_input = True
        self.handles_tiling = self.not_video = self.disable_offload = False
        self.process_input = lambda image: image * 2.0 - 1.0
        self.process_output = lambda image: image.add_(1.0).div_(2.0).clamp_(0.0, 1.0)
        self.working_dtypes = [torch.float32]
        self.device = comfy.model_management.vae_device()
        self.vae_dtype = comfy.model_management.vae_dtype(self.device, self.working_dtypes)
        self.output_device = comfy.model_management.intermediate_device()
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            first_stage.to(self.vae_dtype),
            load_device=self.device,
            offload_device=comfy.model_management.vae_offload_device(),
        )
        first_stage.load_state_dict(weights, strict=True, assign=self.patcher.is_dynamic())
        comfy.model_management.archive_model_dtypes(first_stage)

    def memory_used_decode(self, shape, dtype: torch.dtype) -> int:
        """Bytes for decoding latents of that shape, (T, 4, h, w): all frames at once when temporal."""
        frames = shape[0] if self.first_stage_model.temporal else 1
        return self.first_stage_model.params.decode_memory(frames, shape[2], shape[3], dtype)

    def memory_used_encode(self, shape, dtype: torch.dtype) -> int:
        """Bytes for encoding one image of a batch of that shape, (N, 3, H, W)."""
        scale = self.downscale_ratio
        return self.first_stage_model.params.decode_memory(1, shape[2] // scale, shape[3] // scale, dtype)

    def decode(
        self, samples_in: Tensor, vae_options: dict | None = None, num_frames: int | None = None
    ) -> Tensor:
        """(B·T, 4, h, w) -> (B·T, H, W, 3) in [0, 1]; without num_frames the batch is one video."""
        if samples_in.ndim == 5:  # core's video nodes: (B, 4, T, h, w)
            samples_in = samples_in.movedim(2, 1).flatten(0, 1)
        total = samples_in.shape[0]
        at_once = (num_frames or total) if self.first_stage_model.temporal else 1
        shape = (at_once, *samples_in.shape[1:])
        needed = self.memory_used_decode(shape, self.vae_dtype)
        comfy.model_management.load_models_gpu([self.patcher], memory_required=needed)
        progress = comfy.utils.ProgressBar(total)
        videos = []
        for start in range(0, total, at_once):
            comfy.model_management.throw_exception_if_processing_interrupted()
            z = samples_in[start : start + at_once].to(self.device, self.vae_dtype)
            frames = self.process_output(self.first_stage_model.decode(z, z.shape[0]).float())
            videos.append(frames.to(self.output_device, self.vae_output_dtype()))
            progress.update_absolute(start + len(z), total)
        return torch.cat(videos).movedim(1, -1)

    def decode_tiled(self, samples: Tensor, **tiles) -> Tensor:
        """The same as decode: tiles and single frames would give another, flickering picture."""
        return self.decode(samples)


def _network_weights(checkpoint: Checkpoint, network: NetworkReport) -> dict[str, Tensor]:
    """The tensors of one network, views of the mapped file."""
    if not network.whole:
        raise ValueError(checkpoint.describe_incomplete(network))
    return {key: checkpoint.file.read(network.prefix + key) for key in network.expected}


def _unet_config(params: UNetParams) -> dict:
    """The sizes as core's detection writes them down, which nodes such as FreeU and LoRA loaders look up."""
    levels, blocks = len(params.channel_mult), params.num_res_blocks
    without = levels - params.attention_levels
    return {
        "in_channels": params.in_channels,
        "out_channels": params.out_channels,
        "model_channels": params.model_channels,
        "channel_mult": list(params.channel_mult),
        "num_res_blocks": [blocks] * levels,
        "transformer_depth": [1] * (blocks * params.attention_levels) + [0] * (blocks * without),
        "transformer_depth_output": [1] * ((blocks + 1) * params.attention_levels)
        + [0] * ((blocks + 1) * without),
        "transformer_depth_middle": 1,
        "context_dim": params.context_dim,
        "adm_in_channels": params.vector_dim,
    }


def load_model(checkpoint: Checkpoint):
    """The MODEL of a checkpoint."""
    management = comfy.model_management
    network, params = checkpoint.unet, checkpoint.unet.params
    config = comfy.supported_models.SVD_img2vid(_unet_config(params))
    load_device = management.get_torch_device()
    supported = list(config.supported_inference_dtypes)
    dtype = management.unet_dtype(
        model_params=network.parameters, supported_dtypes=supported, weight_dtype=network.dtypes[0]
    )
    cast_dtype = management.unet_manual_cast(dtype, load_device, supported)
    config.set_inference_dtype(dtype, cast_dtype)
    first_device = management.unet_inital_load_device(network.parameters, dtype)
    model = VideoModel(config, checkpoint.variant, params, device=first_device)
    patcher = comfy.model_patcher.CoreModelPatcher(
        model, load_device=load_device, offload_device=management.unet_offload_device()
    )
    model.load_model_weights(_network_weights(checkpoint, network), "", assign=patcher.is_dynamic())
    return patcher


def load_vae(checkpoint: Checkpoint, frame_wise: bool = False) -> VideoVAE:
    """The VAE of a checkpoint: its encoder with its own decoder, or with a frame-wise one."""
    decoder = checkpoint.frame_wise_decoder if frame_wise else checkpoint.decoder
    if decoder is None:
        raise ValueError(f"{checkpoint.file.path.name} has no frame-wise decoder; choose 'as in the file'.")
    build = {"operations": comfy.ops.disable_weight_init, "attention": attention, "device": "cpu"}
    first_stage = FirstStage(checkpoint.encoder.build(**build), decoder.build(**build))
    weights = _network_weights(checkpoint, checkpoint.encoder) | _network_weights(checkpoint, decoder)
    return VideoVAE(first_stage, weights)


def load_image_tower(checkpoint: Checkpoint):
    """The CLIP_VISION of a checkpoint."""
    params = checkpoint.vision.params
    config = {
        "attention_dropout": 0.0,
        "hidden_act": "gelu",
        "hidden_size": params.width,
        "image_mean": list(MEAN),
        "image_size": params.image_size,
        "image_std": list(STD),
        "intermediate_size": params.mlp_width,
        "layer_norm_eps": 1e-5,
        "model_type": "clip_vision_model",
        "num_attention_heads": params.width // params.head_width,
        "num_channels": 3,
        "num_hidden_layers": params.layers,
        "patch_size": params.patch_size,
        "projection_dim": params.output_dim,
    }
    weights = _network_weights(checkpoint, checkpoint.vision)
    tower = comfy.clip_vision.ClipVisionModel(config)
    weights = comfy.clip_vision.convert_to_transformers(weights, "")
    missing, _ = tower.load_sd(weights)
    if missing:
        raise ValueError(f"this ComfyUI names the image tower's weights otherwise (it misses {missing[0]}).")
    return tower


def embed_image(clip_vision, pixels: Tensor) -> Tensor:
    """The CLIP embedding, (N, 1, output_dim), of pictures that are preprocessed already."""
    comfy.model_management.load_models_gpu([clip_vision.patcher])
    output = clip_vision.model(pixel_values=pixels.to(clip_vision.load_device), intermediate_output=-2)
    return output[2].to(comfy.model_management.intermediate_device()).float()[:, None]
