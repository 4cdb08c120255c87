"""Networks of SVD's shape, small enough for tests."""

from dataclasses import dataclass

from stillmotion.svd_model.networks.unet import UNetParams
from stillmotion.svd_model.networks.vae import VAEParams
from stillmotion.svd_model.networks.vision import VisionParams


@dataclass(frozen=True)
class Sizes:
    """Sizes of a checkpoint's networks."""

    unet: UNetParams
    vae: VAEParams
    vision: VisionParams


GOLDEN = Sizes(
    UNetParams(model_channels=32, head_channels=16, context_dim=64),
    VAEParams(channels=32),
    VisionParams(width=64, layers=3, head_width=16, mlp_width=256, output_dim=64),
)
"""Sizes of the golden numbers: every level of the released networks, a tenth of their width."""

SMALL = Sizes(
    UNetParams(
        model_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_levels=1,
        head_channels=16,
        context_dim=64,
    ),
    VAEParams(channels=32, channel_mult=(1, 1, 1, 2), num_res_blocks=1),
    GOLDEN.vision,
)
"""Sizes with a layer of each kind, for tests of the code around the networks."""

UNET, VAE, VISION = GOLDEN.unet, GOLDEN.vae, GOLDEN.vision
