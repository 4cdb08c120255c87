"""The picture beside noisy latents, as a low pass has it, for our networks that the host calls."""

import torch
from torch import Tensor

from ...clips.low_pass import low_passed
from .shared import LOW_PASS


def with_picture_low_passed(x: Tensor, timesteps: Tensor, options: dict) -> Tensor:
    """Inputs of a UNet, (N, 4 + 4, h, w), whose picture is low-passed in rows at levels above the chosen one.

    timesteps: of the rows, ln(σ) / 4. options: the transformer_options, which may have a LowPass.
    """
    chosen = options.get(LOW_PASS)
    if chosen is None:
        return x
    latents, picture = x.chunk(2, dim=1)
    edge = torch.tensor(chosen.until, dtype=torch.float32, device="cpu").log() / 4
    above = (timesteps.float() > edge.to(timesteps.device)).view(-1, 1, 1, 1)
    return torch.cat([latents, torch.where(above, low_passed(picture, chosen.share), picture)], dim=1)
