"""The rows of settings over time: a clip between pictures, a loop, a clip of any length."""

from dataclasses import dataclass

from . import presets
from .choices import MOST_FRAMES, Choices
from .fields import Choice, Number, Whole, setting
from .run import BETWEEN

TIME = "time"

MPD, PINNED, SHIFT = "mpd", "pinned", "shift"
CHAIN, WINDOWS, FREENOISE, WHOLE = "chain", "windows", "freenoise", "whole"

CHUNKED = (CHAIN, WINDOWS, FREENOISE)
"""Ways to a long clip whose UNet takes no more frames at once than a short one's."""

MOST_OVERLAP = MOST_FRAMES - 1
USUAL_OVERLAP, USUAL_MATCH = 6, 1.0


@dataclass(frozen=True)
class ChoicesOverTime(Choices):
    """The rows of clips of several runs, or between two pictures, after all others."""

    between: str | None = setting(
        None,
        Choice(BETWEEN),
        TIME,
        "how the clip goes between its pictures: mpd is the usual one, vibid quicker, mpd_trf the slowest, "
        "trf goes by any sampler",
        usual=MPD,
        only=("svd",),
    )
    loop: str | None = setting(
        None,
        Choice((PINNED, SHIFT)),
        TIME,
        "a clip that ends where it begins: pinned begins with the picture, shift only stays near it, as for "
        "water, smoke and leaves",
        usual="none",
        only=("svd",),
    )
    long: str | None = setting(
        None,
        Choice((CHAIN, WINDOWS, FREENOISE, WHOLE)),
        TIME,
        "how a clip gets more frames than the checkpoint's: chain goes on from the last ones, windows and "
        "freenoise stay near the picture, whole samples all at once",
        usual=f"{CHAIN} beyond the checkpoint's frames",
        only=("svd",),
    )
    chunk: int | None = setting(
        None,
        Whole(2, MOST_FRAMES),
        TIME,
        f"frames of a chunk or window of a long clip; svd was trained with {presets.SVD.num_frames}, and no "
        "file tells it from svd_xt",
        usual=f"the checkpoint's, svd and svd_xt {presets.SVD_XT.num_frames}",
        only=("svd",),
    )
    overlap: int | None = setting(
        None,
        Whole(1, MOST_OVERLAP),
        TIME,
        "frames that chunks or windows share: more join them more smoothly, and take longer",
        usual=str(USUAL_OVERLAP),
        only=("svd",),
    )
    match: float | None = setting(
        None,
        Number(0, 1, step=0.05),
        TIME,
        "how far each chunk of a chain gets the first frame's colours and contrast: 0 not at all, 1 wholly",
        usual=f"{USUAL_MATCH:g}",
        only=("svd",),
    )
