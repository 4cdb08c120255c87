"""The released single files: where each network lies, and which other tensors they hold."""

UNET = "model.diffusion_model."
VISION = "conditioner.embedders.0.open_clip.model.visual."
FIRST_STAGE = "first_stage_model."
CONDITION_VAES = ("conditioner.embedders.3.encoder.", "conditioner.embedders.1.encoder.")
"""Prefixes of the VAE of the conditioning latent, in SVD and in SV3D."""

VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
"""Modules of a VAE."""

NOTES = "stillmotion."
"""The prefix of notes in a saved copy of a small checkpoint, at the top level and in the image tower."""

NOT_NEEDED = (
    # Found in released files and their descendants; inference does without.
    "conditioner.embedders.0.open_clip.",  # the text side
    *CONDITION_VAES,  # the decoder
    FIRST_STAGE,  # the encoder
    "model_ema.",
    "denoiser.",
    "edm_vpred.",  # the range of noise levels, as ComfyUI saves it
    NOTES,
)


def is_known(key: str) -> bool:
    """Whether released files have a key that no network needs."""
    needed = key.startswith((UNET, VISION)) and not key.startswith(VISION + NOTES)
    return key.startswith(NOT_NEEDED) and not needed


def is_weight(key: str) -> bool:
    """Tells whether a key lies in one of the networks; a discriminator of the first stage is none."""
    return key.startswith((UNET, VISION, FIRST_STAGE, *CONDITION_VAES)) and ".loss." not in key
