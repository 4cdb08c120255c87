"""Frames of a clip from its latents: decoded here, or each by one of several ranks and then gathered."""

from collections.abc import Iterator

from torch import Tensor

from ...svd_model import layerwise
from ...svd_model.layerwise import Share
from ...svd_model.networks import kernels
from ...svd_model.networks.vae import VideoDecoder
from .ranks import Ranks


def share_of(frames: int, ring: bool, ranks: Ranks | None) -> Share | None:
    """The frames of a clip that a rank decodes; None for all of them, as of a clip too short to share."""
    counts = None if ranks is None else layerwise.counts_of(frames, ranks.size)
    return None if counts is None else Share(counts, ranks.rank, ring, ranks.gather, ranks.pass_on)


def decoded(
    decoder: VideoDecoder, z: Tensor, share: Share | None, *, ring: bool, **options
) -> Iterator[Tensor]:
    """Yields the frames of a clip, (3, 8h, 8w) near [−1, 1], float32 on the CPU, on every rank.

    z: the whole clip's latents, divided by LATENT_SCALE. `options`: of layerwise.decode_frames. Alone each
    frame comes at once, on ranks all of them at the end.
    """
    if share is None:
        for frame in layerwise.decode_frames(decoder, z, ring=ring, **options):
            yield kernels.to_host(frame.float())
        return
    if decoder.temporal:
        own = layerwise.decode_frames(decoder, z, ring=ring, share=share, **options)
    else:
        own = layerwise.decode_frames(decoder, z[share.own], ring=ring, **options)
    yield from _gathered(own, share)


def _gathered(own: Iterator[Tensor], share: Share) -> list[Tensor]:
    """The frames of all ranks in the clip's order; a rank that has fewer sends its last one again."""
    of_ranks: list[list[Tensor]] = [[] for _ in share.counts]
    frame = None
    for number in range(max(share.counts)):
        frame = next(own, frame)
        for frames, count, found in zip(of_ranks, share.counts, share.gather(frame), strict=True):
            if number < count:
                frames.append(kernels.to_host(found.float()))
    own.close()
    return [frame for frames in of_ranks for frame in frames]
