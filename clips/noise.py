"""Noise of a clip: three streams of N(0, 1), each drawn from the seed alone, in float32 on the CPU."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

SEEDS = 2**64
"""How many seeds there are: 0 to 2⁶⁴ − 1."""

_PICTURE, _STEP = 0x91C7, 0x5EED
"""Constants that a seed is XORed with for noise other than the start's, or the numbers would be equal.

They are far enough apart that no two streams of a batch of 8,000 videos coincide.
"""

_CHUNK = 0x9E3779B9
"""The distance of the seeds of a clip's chunks, 2³² by the golden ratio.

torch's generator looks at the lowest 32 bits of a seed alone. There the multiples up to 1023 lie over
1,900,000 apart, which is more than a batch of videos and the constants above add.
"""


def picture_noise(seed: int, shape: Iterable[int]) -> Tensor:
    """Noise on the picture, of a shape."""
    return _stream(seed ^ _PICTURE)(shape)


def noisy_picture(picture: Tensor, noise_aug: float, seed: int) -> Tensor:
    """A picture, (1, 3, H, W) in [−1, 1], with the seed's noise of a strength, for the encoder."""
    return picture + noise_aug * picture_noise(seed, picture.shape)


def start_noise(seed: int, shape: Iterable[int]) -> Tensor:
    """First latents before their scaling to σ_max, (T, 4, h, w); equal to ComfyUI's noise of the seed."""
    return _stream(seed)(shape)


def step_noise(seed: int) -> Callable[[Iterable[int]], Tensor]:
    """Draws the next noise that a solver adds on the way, of a shape."""
    return _stream(seed ^ _STEP)


def seed_of_video(seed: int, number: int) -> int:
    """Seed of a video of a batch, by its number from 0; alone the video has this seed."""
    return (seed + number) % SEEDS


def seed_of_chunk(seed: int, number: int) -> int:
    """Seed of one of a clip's runs, by its number from 0; the first one has the clip's own."""
    return (seed + number * _CHUNK) % SEEDS


def _stream(seed: int) -> Callable[[Iterable[int]], Tensor]:
    generator = torch.Generator("cpu").manual_seed(seed)

    def draw(shape: Iterable[int]) -> Tensor:
        return torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")

    return draw
