"""Number of frames in each video of a LATENT, also after core's nodes for latents.

Core's nodes copy the dictionary of their first latent. So NUM_FRAMES stays while frames are cut out or
appended, and some nodes drop it. Some note in "batch_index" each frame's position in its original batch.
"""

from itertools import pairwise

from torch import Tensor

from ..clips.noise import seed_of_video
from . import host


def samples_of(latent) -> Tensor:
    """Returns the tensor of a LATENT; raises ValueError if it can't be frames."""
    samples = latent.get("samples") if isinstance(latent, dict) else latent
    host.check_latents(samples)
    return samples


def frames_of_video(latent: dict, remedy: str) -> int:
    """Number of frames in each video of a LATENT; without NUM_FRAMES it is one video.

    Raises ValueError, with the remedy as its end, for a latent that is not whole videos.
    """
    total = latent["samples"].shape[0]
    frames = latent.get(host.NUM_FRAMES, total)
    if total % frames:
        raise ValueError(f"the latent holds {total} frames, no whole number of videos of {frames}; {remedy}")
    origins = latent.get("batch_index", [])
    if host.NUM_FRAMES in latent and len(origins) == total and len(set(origins)) > 1:
        for start in range(0, total, frames):
            video = origins[start : start + frames]
            if not _is_video(video):
                shown = ", ".join(map(str, video))
                raise ValueError(
                    f"the latent was cut or put together within a video: its frames are {shown} of videos of "
                    f"{frames}; {remedy}"
                )
    return frames


def without_closing_frame(latent: dict) -> dict:
    """A LATENT of loops without the frame of each on which it ends, its first one; any other as it is."""
    if not isinstance(latent, dict) or not latent.get(host.CLOSING_FRAME):
        return latent
    remedy = "connect it as it came from the sampler, and cut it afterwards."
    total, frames = latent["samples"].shape[0], frames_of_video(latent, remedy)
    cut = {name: value for name, value in latent.items() if name != host.CLOSING_FRAME}
    kept = [index for index in range(total) if index % frames != frames - 1]
    for name in ("samples", "noise_mask"):
        if name in cut and len(cut[name]) == total:
            cut[name] = cut[name][kept]
    if len(cut.get("batch_index", [])) == total:  # places in a batch of shorter videos
        places = [cut["batch_index"][index] for index in kept]
        cut["batch_index"] = [place - place // frames for place in places]
    return {**cut, host.NUM_FRAMES: frames - 1}


def check_frames_said(latent: dict, frames: int, remedy: str) -> None:
    """Raises ValueError for a joined or cut LATENT in which the length of a video is lost.

    An appended latent, from core's node for two latents, passes if it is as long as one video. A latent from
    core's Rebatch Latents has lost NUM_FRAMES.
    """
    origins = latent.get("batch_index", [])
    lengths = _runs(origins)
    if len(set(origins)) > 1 and any(length != frames for length in lengths[1:]):
        raise ValueError(
            f"the latent is joined of {' and '.join(map(str, lengths))} frames, and does not say how many a "
            f"video has in each part; {remedy}"
        )
    if len(set(origins)) > 1 and host.NUM_FRAMES not in latent:
        raise ValueError(
            f"the latent is frames {origins[0]} to {origins[-1]} of a batch, as from Rebatch Latents, and "
            f"does not say how many a video has; {remedy}"
        )


def frames_of_conditioning(positive: list, negative: list, latent: dict) -> int | None:
    """Number of frames in a video by the conditioning; raises ValueError for contradictory numbers."""
    numbers = [
        options[host.NUM_FRAMES] for _, options in [*positive, *negative] if host.NUM_FRAMES in options
    ]
    if len(set(numbers)) > 1:
        raise ValueError(
            f"the conditioning is for videos of {' and of '.join(map(str, dict.fromkeys(numbers)))} frames; "
            "connect positive and negative from the same SVD Image to Video."
        )
    frames = numbers[0] if numbers else None
    own = latent.get(host.NUM_FRAMES, frames)
    if frames is not None and own != frames:
        raise ValueError(
            f"the latent is of videos of {own} frames, the conditioning for videos of {frames}; connect both "
            "from the same SVD Image to Video."
        )
    return frames


def seeds_of_videos(latent: dict, frames: int, seed: int) -> list[int]:
    """The seed of each video of a LATENT, counted on from the seed of its batch's first video.

    A video keeps its number, and so its seed, where core's nodes took it out of a batch.
    """
    total = latent["samples"].shape[0]
    starts = range(0, total, frames)
    origins = latent.get("batch_index", [])
    if len(origins) == total and all(_is_video(origins[start : start + frames]) for start in starts):
        starts = origins[::frames]
    return [seed_of_video(seed, start // frames) for start in starts]


def _is_video(origins: list[int]) -> bool:
    """Whether those places in a batch are of one whole video."""
    return origins[0] % len(origins) == 0 and _runs(origins) == [len(origins)]


def _runs(origins: list[int]) -> list[int]:
    """Lengths of the runs of consecutive numbers."""
    lengths = [1]
    for previous, current in pairwise(origins):
        if current == previous + 1:
            lengths[-1] += 1
        else:
            lengths.append(1)
    return lengths
