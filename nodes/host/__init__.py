"""Our networks inside of ComfyUI's own types: the one place that knows the host's classes.

Checked against ComfyUI 0.33. The nodes use these names and the host's API for nodes.
"""

from .clip_files import clip_in_page
from .control import load_controlnet
from .exvideo import load_exvideo
from .files import FOLDERS, checkpoint_names, file_names, open_checkpoint, open_parts
from .guider import check_without_guidance, is_guided, with_further_terms, with_guidance
from .hold import with_mask_until
from .long import check_without_windows, with_held_frames, with_windows
from .look import with_reference
from .lora import with_lora
from .model import (
    check_conditioning,
    check_no_orbit,
    in_models_scale,
    keeps_videos_apart,
    load_model,
    motion_without_use,
    steering_of,
    with_feature_cache,
)
from .moving import show_frames
from .needs import needs_of, show_doubts, show_on_node, size_doubts
from .performer import Performer
from .sampling import SAMPLERS, make_between_sampler, make_sampler, named_sampler, sample_latent
from .second import with_second_gpu
from .shared import CAMERA, CLOSING_FRAME, NUM_FRAMES, TRACK
from .steering import check_steerable, steered, with_low_pass
from .vae import check_decoder, check_encoder, load_vae
from .values import (
    as_images,
    check_images,
    check_latents,
    conditioning_of,
    frames_as_batch,
    lay_over,
    put_first_frame,
)
from .vision import check_image_tower, embed_image, load_image_tower
from .ways import Ends, Shift, make_guider, way_of, with_way

__all__ = [
    "CAMERA",
    "CLOSING_FRAME",
    "FOLDERS",
    "NUM_FRAMES",
    "SAMPLERS",
    "TRACK",
    "Ends",
    "Performer",
    "Shift",
    "as_images",
    "check_conditioning",
    "check_decoder",
    "check_encoder",
    "check_image_tower",
    "check_images",
    "check_latents",
    "check_no_orbit",
    "check_steerable",
    "check_without_guidance",
    "check_without_windows",
    "checkpoint_names",
    "clip_in_page",
    "conditioning_of",
    "embed_image",
    "file_names",
    "frames_as_batch",
    "in_models_scale",
    "is_guided",
    "keeps_videos_apart",
    "lay_over",
    "load_controlnet",
    "load_exvideo",
    "load_image_tower",
    "load_model",
    "load_vae",
    "make_between_sampler",
    "make_guider",
    "make_sampler",
    "motion_without_use",
    "named_sampler",
    "needs_of",
    "open_checkpoint",
    "open_parts",
    "put_first_frame",
    "sample_latent",
    "show_doubts",
    "show_frames",
    "show_on_node",
    "size_doubts",
    "steered",
    "steering_of",
    "way_of",
    "with_feature_cache",
    "with_further_terms",
    "with_guidance",
    "with_held_frames",
    "with_lora",
    "with_low_pass",
    "with_mask_until",
    "with_reference",
    "with_second_gpu",
    "with_way",
    "with_windows",
]
