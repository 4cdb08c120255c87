"""Mixes of a spatial and a temporal result, with a learned weight."""

import torch
from torch import Tensor, nn

from .operations import empty_parameter


def mix_weight(mix_factor: Tensor, like: Tensor) -> Tensor:
    """Weight α = sigmoid(mix_factor), a tensor of no dimensions, in the dtype and on the device of `like`."""
    return torch.sigmoid(mix_factor.float()).to(like).squeeze()


class Mixer(nn.Module):
    """Mix α·spatial + (1−α)·temporal with a learned α, the key time_mixer.mix_factor."""

    def __init__(self, **factory):
        super().__init__()
        self.mix_factor = empty_parameter(1, **factory)

    def forward(self, spatial: Tensor, temporal: Tensor) -> Tensor:
        return torch.lerp(temporal, spatial, mix_weight(self.mix_factor, spatial))

    def mix_into(self, spatial: Tensor, temporal: Tensor) -> None:
        """Write the mix over spatial."""
        torch.lerp(temporal, spatial, mix_weight(self.mix_factor, spatial), out=spatial)

    def add(self, spatial: Tensor, change: Tensor) -> Tensor:
        """Mix of spatial and temporal = spatial + change: spatial + (1−α)·change."""
        return torch.addcmul(spatial, change, 1 - mix_weight(self.mix_factor, spatial))

    def add_to(self, spatial: Tensor, change: Tensor) -> None:
        """Write this mix over spatial."""
        spatial.addcmul_(change, 1 - mix_weight(self.mix_factor, spatial))
