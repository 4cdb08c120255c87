"""Networks of SVD's shape, small enough for tests; the sizes are those of the reference numbers."""

from stillmotion.svd_model.unet import UNetParams
from stillmotion.svd_model.vae import VAEParams
from stillmotion.svd_model.vision import VisionParams

UNET = UNetParams(model_channels=32, head_channels=16, context_dim=64)
VAE = VAEParams(channels=32)
VISION = VisionParams(width=64, layers=3, head_width=16, mlp_width=256, output_dim=64)
