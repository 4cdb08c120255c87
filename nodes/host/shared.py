"""Keys, numbers and the host's attention, for all files of this package."""

import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor

NUM_FRAMES = "stillmotion_num_frames"
"""The key for the frames of one video, in LATENT and CONDITIONING, where the batch holds several."""

VECTOR = "stillmotion_vector"
"""The key in CONDITIONING for the vector of a clip, in place of its numbers by their names."""

CAMERA = "stillmotion_camera"
"""The key in CONDITIONING that says that a user set the camera; core's node always sets one."""

TRACK = "stillmotion_track"
"""The key in CONDITIONING for the camera of MotionCtrl, (T, 12)."""

REFERENCES = "stillmotion_references"
"""The key in CONDITIONING for the References that count in places of their own."""

OWN_TOKENS = "stillmotion_own_tokens"
"""The key in CONDITIONING for the CLIP embeddings of its picture and an end picture, without references."""

WAY = "stillmotion_way"
"""The key in CONDITIONING for a picture that clips end on, or for a loop: see ways.py."""

STEERING = "stillmotion_steering"
"""The key in transformer_options for hooks of our UNet, which go before the patches of other nodes."""

POSITIONS = "stillmotion_positions"
"""The key in transformer_options for the number of frames over whose positions a video's are spread."""

LOW_PASS = "stillmotion_low_pass"
"""The key in transformer_options for the LowPass of the picture beside noisy latents."""

CLOSING_FRAME = "stillmotion_closing_frame"
"""The key in LATENT of loops in which each video ends on its first frame again, which is to be dropped."""

ATTENTION_PRECISION = torch.float32
"""Precision in which the host's attention accumulates: SVD's keys and values overflow float16."""


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention by the backend that the user chose for the host."""
    return optimized_attention(q, k, v, heads, attn_precision=ATTENTION_PRECISION)
