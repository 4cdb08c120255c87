"""Decode and encode layer by layer: the exact picture, in any amount of memory.

SVD's temporal decoder normalises over all T frames of a clip, and its receptive field in time is longer than
a clip. Decoding chunks of frames therefore changes the picture, and decoding all frames at once keeps eight
activations of (T, 128, 8h, 8w). This package finishes a layer for the whole clip and then begins the next.
A layer is a residual block and its predecessor: a resampling, an attention or the first convolution.

    frames of the previous layer       T × (C, H, W), on the device, in host memory or in a file
       │ groups of frames, bands of rows
    1  ▼ predecessor, 2D residual block                                          spatial.py
    frames ──────── moments of each group, merged over the clip ──┐              moments.py
       │ bands of rows of all frames                              ▼
    2  ▼ group norm, 3×1×1 convolution <──────────────────────────┘              temporal.py
    hidden rows ─── moments of all bands, merged ─────────────────┐
       │ bands of rows of all frames                              ▼
    3  ▼ group norm, 3×1×1 convolution, added to the frames <─────┘
    frames

A cut is exact where no operation looks across it. Spatial operations see one frame: a convolution a band of
rows with a row more above and below, an attention a group of queries with all keys. Convolutions over time
see one position of all frames, so passes 2 and 3 need no neighbouring rows. Only a group norm looks at all
positions; its mean and variance are merged from pieces (`moments.py`). There are two passes over time because
the second norm waits for all results of the first convolution. Pass 2 caches hidden rows as far as they fit;
pass 3 computes the others once more. The output layer convolves frame by frame and mixes three neighbours.
A convolution over time reads one frame before and one after: at the ends of a clip zeros, but on the ring of
a loop its own last and first frame.

Memory is decided by a plan (`plan.py`), which a planner makes of shapes and a budget in bytes, without
tensors. The layers, their order and their shapes are read off the network's modules. A plan says for each
layer how many frames and rows are computed at once, how many frames stay on the device and how many hidden
rows are cached. The frames (`frames.py`) follow it; the ones that do not fit are spilled to host memory and
then to a memory-mapped file (`spill.py`). If an allocation fails in spite of the plan, the budget is halved,
frames leave the device, and the call that failed runs once more (`memory.py`). Such a call changes frames by
its last operation alone, or it writes what an earlier call computed, so it can be repeated.

Several processes may share a clip's frames (`sharing.py`): each then holds two frames of each neighbour too,
which are exchanged behind pass 1, and the moments are merged over all processes.

`decode.py` and `encode.py` walk the layers. An encoder and a decoder of single frames have pass 1 only.
"""

from .decode import decode_frames
from .encode import encode_frames
from .memory import SHARE_OF_FREE, BoundedPlan, NotEnoughMemoryError, in_units, is_out_of_memory
from .plan import DecodePlanner, EncodePlanner, LayerwisePlan
from .sharing import Share, counts_of
from .spill import Spill, SpillError
from .unet import UNetPlan, UNetPlanner

__all__ = [
    "SHARE_OF_FREE",
    "BoundedPlan",
    "DecodePlanner",
    "EncodePlanner",
    "LayerwisePlan",
    "NotEnoughMemoryError",
    "Share",
    "Spill",
    "SpillError",
    "UNetPlan",
    "UNetPlanner",
    "counts_of",
    "decode_frames",
    "encode_frames",
    "in_units",
    "is_out_of_memory",
]
