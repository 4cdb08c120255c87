"""Adaptive low-pass guidance: at high noise levels the UNet sees the picture's latent without its details."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

USUAL_UNTIL = 100.0
"""The level down to which a picture is blurred, if the user leaves it open."""


@dataclass(frozen=True)
class LowPass:
    """A picture's latent with less detail at levels above `until` (Choi et al., "ALG", 2025).

    Layout and motion are settled at high levels, and a sharp picture there holds the clip to itself. Zeros,
    which the unconditional branch has for its picture, stay zeros.
    """

    share: float  # of the latent's width and height that is left, above 0 to 1
    until: float

    def at(self, latent: Tensor, sigma: Tensor) -> Tensor:
        """The latent of the picture, (N, 4, h, w), that the UNet sees at a level."""
        return low_passed(latent, self.share) if sigma > self.until else latent


def low_passed(latent: Tensor, share: float) -> Tensor:
    """A latent, (N, C, h, w), shrunk to a share of its sides and enlarged again, both bilinearly."""
    sides = latent.shape[2:]
    small = [max(1, round(side * share)) for side in sides]
    options = {"mode": "bilinear", "antialias": True, "align_corners": False}
    wide = latent if latent.dtype == torch.float64 else latent.float()  # which every backend can shrink
    return interpolate(interpolate(wide, small, **options), sides, **options).to(latent.dtype)


def of(settings) -> LowPass | None:
    """The low pass that the settings ask for, None without one."""
    if settings.low_pass is None:
        return None
    until = settings.low_pass_until
    return LowPass(settings.low_pass, USUAL_UNTIL if until is None else until)


def conflicts(settings) -> Iterator[str]:
    """A sentence for a level without a low pass."""
    if settings.low_pass_until is not None and settings.low_pass is None:
        yield "low_pass_until can't go without low_pass; give its share, or leave it out."
