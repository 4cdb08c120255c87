"""LATENT: how many frames each of its videos has, also behind core's nodes, which keep or lose what it says.

Core's nodes for latents copy the first one's dictionary, so that NUM_FRAMES stays while frames are cut out or
others are appended. Some of them note in "batch_index" where in its own batch each frame comes from.
"""

from itertools import pairwise

from torch import Tensor

from ..clips.noise import seed_of_video
from . import host


def samples_of(latent) -> Tensor:
    """The numbers of a LATENT; raises ValueError where they can't be frames."""
    samples = latent.get("samples") if isinstance(latent, dict) else latent
    host.check_latents(samples)
    return samples


def frames_of_video(latent: dict, remedy: str) -> int:
    """The frames of each video of a LATENT; one that says nothing of it is one video.

    Raises ValueError, which ends in the remedy, where it holds something else than whole videos.
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


def check_frames_said(latent: dict, frames: int, remedy: str) -> None:
    """Raises ValueError for a LATENT joined of others, or a part of one, that lost how long a video is.

    What core's node for two latents appends passes where it is as long as one video. Its Rebatch Latents
    drops what the latent said.
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


def frames_told(positive: list, negative: list, latent: dict) -> int | None:
    """The frames of a video by the conditioning; raises ValueError where there are several answers."""
    named = [options[host.NUM_FRAMES] for _, options in [*positive, *negative] if host.NUM_FRAMES in options]
    if len(set(named)) > 1:
        raise ValueError(
            f"the conditioning is for videos of {' and of '.join(map(str, dict.fromkeys(named)))} frames; "
            "connect positive and negative from the same SVD Image to Video."
        )
    told = named[0] if named else None
    own = latent.get(host.NUM_FRAMES, told)
    if told is not None and own != told:
        raise ValueError(
            f"the latent is of videos of {own} frames, the conditioning for videos of {told}; connect both "
            "from the same SVD Image to Video."
        )
    return told


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
    """The lengths of the stretches in which each number is one more than the number before."""
    lengths = [1]
    for before, here in pairwise(origins):
        if here == before + 1:
            lengths[-1] += 1
        else:
            lengths.append(1)
    return lengths
