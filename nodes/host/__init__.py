"""Our networks inside of ComfyUI's own types: the one place that knows the host's classes.

Checked against ComfyUI 0.33. The nodes use what is named here and, of the host, its API for nodes alone.
"""

from .images import resize
from .model import frames_of_video, load_model
from .sampling import SAMPLERS, has_guidance, make_sampler, named_sampler, sample_latent, with_guidance
from .shared import NUM_FRAMES
from .vae import VideoVAE, load_vae
from .vision import embed_image, load_image_tower

__all__ = [
    "NUM_FRAMES",
    "SAMPLERS",
    "VideoVAE",
    "embed_image",
    "frames_of_video",
    "has_guidance",
    "load_image_tower",
    "load_model",
    "load_vae",
    "make_sampler",
    "named_sampler",
    "resize",
    "sample_latent",
    "with_guidance",
]
