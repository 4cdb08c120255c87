"""Asks our MODEL for every part of the host's model contract, beside core's UNet with the same weights.

python contract.py PACK CHECKPOINT [KEY], by the host's interpreter, in the host's folder. CHECKPOINT is the
tiny SVD. Without a KEY all are asked for but the slow one, for which the UNet is compiled.

Prints one line of JSON: by the key of docs/COMFYUI_CONTRACT.md what came of it, {"kept": true}, {"words": the
refusal} or {"fault": a traceback}.
"""

import json
import sys
import traceback

from contract_models import KEYS

# isort: split
from comfy.patcher_extension import WrappersMP
from contract_options import (
    cached,
    callbacks,
    chosen_attention,
    context_windows,
    features_patch,
    key_of_a_pack,
    key_of_place,
    key_of_run,
    one_tensor_patch,
    other_models_key,
    other_patch,
    other_replacement,
    override,
    qkv_patch,
    replaced,
    wrapper,
)
from contract_parts import (
    attachments,
    attributes,
    base_model,
    bypass_lora,
    compiled,
    compute_dtype,
    conditioning_options,
    control,
    control_of_another_model,
    fresh_copy,
    function_wrapper,
    guidance,
    hooks,
    indicator,
    injections,
    latent_format,
    lora_loader,
    memory,
    merging,
    model_sampling,
    modules,
    network_replaced,
    noise_mask,
    on_another_device,
    part_replaced,
    previews,
    saved_state,
    temporal_control,
    time_conditioning,
    unet_config,
    weight_wrapper,
    weights_patch,
)

DITS = ("double_block", "single_block", "post_input", "noise_refiner", "mlp_patch")
OTHERS = ("rope_options", "ar_config", "chroma_radiance_options", "minimax_h3_sigma_shift_audio")
OTHERS += ("minimax_h3_sigma_shift_video", "stg_self_attn_blocks", "stg_skip_self_attn", "a2v_cross_attn")
OTHERS += ("v2a_cross_attn", "audio_embeds")

PROBES = {
    "patches.attn1_patch": lambda: qkv_patch("attn1_patch"),
    "patches.attn1_output_patch": lambda: one_tensor_patch("attn1_output_patch"),
    "patches.attn2_patch": lambda: qkv_patch("attn2_patch"),
    "patches.attn2_output_patch": lambda: one_tensor_patch("attn2_output_patch"),
    "patches.middle_patch": lambda: one_tensor_patch("middle_patch"),
    "patches.output_block_patch": features_patch,
    "patches.input_block_patch": lambda: other_patch("input_block_patch"),
    "patches.input_block_patch_after_skip": lambda: other_patch("input_block_patch_after_skip"),
    "patches.middle_block_after_patch": lambda: other_patch("middle_block_after_patch"),
    "patches.emb_patch": lambda: other_patch("emb_patch"),
    "patches.forward_timestep_embed_patch": lambda: other_patch("forward_timestep_embed_patch"),
    "patches.double_block": lambda: other_patch(*DITS),
    "patches_replace.attn1": lambda: replaced("attn1"),
    "patches_replace.attn2": lambda: replaced("attn2"),
    "patches_replace.dit": other_replacement,
    "optimized_attention_override": override,
    "set_model_optimized_attention": chosen_attention,
    "wrappers.diffusion_model": lambda: wrapper(WrappersMP.DIFFUSION_MODEL),
    "wrappers.apply_model": lambda: wrapper(WrappersMP.APPLY_MODEL),
    "wrappers.calc_cond_batch": lambda: wrapper(WrappersMP.CALC_COND_BATCH),
    "wrappers.predict_noise": lambda: wrapper(WrappersMP.PREDICT_NOISE),
    "wrappers.sampler_sample": lambda: wrapper(WrappersMP.SAMPLER_SAMPLE),
    "wrappers.prepare_sampling": lambda: wrapper(WrappersMP.PREPARE_SAMPLING),
    "wrappers.outer_sample": lambda: wrapper(WrappersMP.OUTER_SAMPLE),
    "easycache": lambda: cached("EasyCacheNode") or cached("LazyCacheNode"),
    "callbacks": callbacks,
    "cond_or_uncond": lambda: key_of_run("cond_or_uncond"),
    "uuids": lambda: key_of_run("uuids"),
    "sigmas": lambda: key_of_run("sigmas"),
    "sample_sigmas": lambda: key_of_run("sample_sigmas"),
    "block": lambda: key_of_place("block"),
    "block_index": lambda: key_of_place("block_index"),
    "transformer_index": lambda: key_of_place("transformer_index"),
    "original_shape": lambda: key_of_place("original_shape"),
    "activations_shape": lambda: key_of_place("activations_shape"),
    "n_heads": lambda: key_of_place("n_heads"),
    "dim_head": lambda: key_of_place("dim_head"),
    "attn_precision": lambda: key_of_place("attn_precision"),
    "any key of a pack's own": key_of_a_pack,
    "rope_options": lambda: other_models_key(*OTHERS),
    "context_handler": context_windows,
    "sampler_cfg_function": guidance,
    "model_function_wrapper": function_wrapper,
    "denoise_mask_function": noise_mask,
    "area": conditioning_options,
    "control": control,
    "SVD Load ControlNet": temporal_control,
    "control of another model": control_of_another_model,
    "time_conditioning": time_conditioning,
    "image_only_indicator": indicator,
    "add_patches": weights_patch,
    "load_lora_for_models": lora_loader,
    "load_bypass_lora_for_models": bypass_lora,
    "hooks": hooks,
    "get_key_patches": merging,
    "add_weight_wrapper": weight_wrapper,
    "set_model_compute_dtype": compute_dtype,
    "add_object_patch model_sampling": model_sampling,
    "add_object_patch latent_format": latent_format,
    "add_object_patch diffusion_model": network_replaced,
    "add_object_patch diffusion_model.": part_replaced,
    "clone": fresh_copy,
    "deepclone_multigpu": on_another_device,
    "set_torch_compile_wrapper": compiled,
    "set_injections": injections,
    "set_attachments": attachments,
    "state_dict_for_saving": saved_state,
    "memory_required": memory,
    "diffusion_model.input_blocks": modules,
    "diffusion_model.model_channels": lambda: attributes(
        "model_channels", "in_channels", "out_channels", "channel_mult", "num_res_blocks", "num_head_channels"
    ),
    "diffusion_model.dtype": lambda: attributes("dtype"),
    "model_config.unet_config": unet_config,
    "latent_format.latent_rgb_factors": previews,
    "process_latent_in": base_model,
}


def outcome(probe) -> dict:
    try:
        words = probe()
    except Exception:
        return {"fault": traceback.format_exc()[-1500:]}
    return {"words": words} if isinstance(words, str) else {"kept": True}


SLOW = "set_torch_compile_wrapper"
sys.stdout.write(
    "\n" + json.dumps({key: outcome(PROBES[key]) for key in KEYS or [key for key in PROBES if key != SLOW]})
)
