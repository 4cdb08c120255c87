"""Decode and encode layer by layer, exactly, in whatever memory there is.

SVD's temporal decoder normalises over all frames of a clip and looks further than the clip is long, so
cutting a clip into chunks of frames changes the picture. Here the network is walked layer by layer instead:
what works on each frame alone (`spatial.py`) in groups of frames, what works over time (`temporal.py`) in
bands of rows and two passes (`kept.py`: what the first leaves for the second), with the normalisation's
statistics (`moments.py`) gathered over the whole clip first. Between layers the frames (`frames.py`) live on
the device, in host memory or in a memory-mapped file (`spill.py`), as the plan (`plan.py`) says; `decode.py`
and `encode.py` walk.
"""

from .decode import decode_frames
from .encode import encode_frames
from .memory import SHARE_OF_FREE, NotEnoughMemoryError, in_units, is_out_of_memory
from .plan import LayerwisePlan, plan_decode, plan_encode, smallest_budget
from .spill import Scratch, ScratchError

__all__ = [
    "SHARE_OF_FREE",
    "LayerwisePlan",
    "NotEnoughMemoryError",
    "Scratch",
    "ScratchError",
    "decode_frames",
    "encode_frames",
    "in_units",
    "is_out_of_memory",
    "plan_decode",
    "plan_encode",
    "smallest_budget",
]
