"""Windows of a long clip, for a network that takes T frames at once; and noise for its many frames."""

from collections.abc import Sequence

import torch
from torch import Tensor


def sliding(num_frames: int, length: int, overlap: int) -> list[list[int]]:
    """Windows of consecutive frames; the last one ends on the last frame, and may overlap more."""
    last = max(num_frames - length, 0)
    starts = sorted({*range(0, last + 1, length - overlap), last})
    return [list(range(start, min(start + length, num_frames))) for start in starts]


def anchored(num_frames: int, length: int, overlap: int) -> list[list[int]]:
    """Windows that begin with frame 0, the picture's (Zhang et al., "MimicMotion", 2024)."""
    if num_frames <= length:
        return [list(range(num_frames))]
    return [[0, *range(start + 1, start + length)] for start, *_ in sliding(num_frames, length, overlap)]


def tent(length: int) -> Tensor:
    """Weights of a window's frames, (T,), that rise in equal steps up to its middle and fall again."""
    position = (torch.arange(length, dtype=torch.float64, device="cpu") + 0.5) * 2 / length
    return torch.minimum(position, 2 - position)


def triangle(length: int) -> Tensor:
    """Weights of a window's frames in whole numbers, (T,): 1, 2, … up to its middle, and down to 1."""
    position = torch.arange(length, dtype=torch.float64, device="cpu")
    return torch.minimum(position + 1, length - position)


def repeated(noise: Tensor, num_frames: int) -> Tensor:
    """Noise of T frames, (T, C, h, w), over and over for all frames."""
    return noise[torch.arange(num_frames, dtype=torch.int64, device=noise.device) % len(noise)]


def shuffled(noise: Tensor, length: int, shuffles: Sequence[Tensor]) -> Tensor:
    """Noise whose frames from T on are earlier ones in another order (Qiu et al., "FreeNoise", 2023).

    noise: (n, C, h, w), of which the first T are kept. shuffles: permutations of S, one for every S frames
    after them, which are taken from T frames earlier.
    """
    noise = noise.clone()
    start = length
    for shuffle in shuffles:
        chosen = shuffle[: len(noise) - start]
        noise[start : start + len(chosen)] = noise[start - length + chosen]
        start += len(chosen)
    return noise
