"""Core's own SVD for scripts in the host's process."""

import comfy.model_base
import comfy.model_patcher
import comfy.supported_models
import torch


def core_model(checkpoint):
    """Core's own SVD with the weights of a checkpoint, at its sizes."""
    ours = checkpoint.unet.params
    levels = len(ours.channel_mult)
    attended = [1] * ours.attention_levels + [0] * (levels - ours.attention_levels)
    config = comfy.supported_models.SVD_img2vid(
        {
            "image_size": 32,
            "in_channels": ours.in_channels,
            "out_channels": ours.out_channels,
            "model_channels": ours.model_channels,
            "channel_mult": list(ours.channel_mult),
            "num_res_blocks": [ours.num_res_blocks] * levels,
            "transformer_depth": [n for n in attended for _ in range(ours.num_res_blocks)],
            "transformer_depth_output": [n for n in attended for _ in range(ours.num_res_blocks + 1)],
            "transformer_depth_middle": 1,
            "context_dim": ours.context_dim,
            "adm_in_channels": ours.vector_dim,
            "num_classes": "sequential",
            "use_spatial_transformer": True,
            "use_linear_in_transformer": True,
            "legacy": False,
            "extra_ff_mix_layer": True,
            "use_spatial_context": True,
            "merge_strategy": "learned_with_images",
            "merge_factor": 0.0,
            "video_kernel_size": [3, 1, 1],
            "use_temporal_resblock": True,
            "use_temporal_attention": True,
            "disable_self_attentions": None,
            "dtype": torch.float32,
        }
    )
    config.unet_config["num_head_channels"] = ours.head_channels
    model = comfy.model_base.SVD_img2vid(config)
    file, prefix = checkpoint.file, "model.diffusion_model."
    weights = {key[len(prefix) :]: file.read(key).clone() for key in file.shapes if key.startswith(prefix)}
    model.diffusion_model.load_state_dict(weights, strict=True)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)
