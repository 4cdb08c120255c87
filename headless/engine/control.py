"""A ControlNet in a run: its embedding of the pictures, and its residuals as hooks of the UNet."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ...clips.control import Control
from ...svd_model.networks.controlnet import WEIGHTINGS, ControlHooks, ControlNet
from ...svd_model.networks.hooks import NO_HOOKS, Hooks
from ...svd_model.networks.pieces import Pieces
from ...svd_model.networks.stages import RunConstants
from .shifts import ShiftTable, for_rows


class Controller:
    """A ControlNet over the branches of a run, all with one control. The pictures are embedded once."""

    def __init__(
        self,
        network: ControlNet,
        control: Control,
        vector: Tensor,
        dtype: torch.dtype,
        sigmas: Iterable[Tensor],
    ):
        self._network, self._control = network, control
        self._weights = WEIGHTINGS[control.weighting](network.params)
        pictures = (picture.to(vector.device, dtype) for picture in control.pictures.split(1))
        self._embedding = torch.cat([network.embed(picture) for picture in pictures])
        self._shifts = ShiftTable(network, vector, dtype, filter(control.acts_at, sigmas))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the stored weights."""
        return next(self._network.parameters()).dtype

    def prepare(
        self, context: Tensor, vector: Tensor, num_frames: int, positions: Tensor | None
    ) -> RunConstants:
        """Constants of some branches, for all steps; positions: of the frames, as the UNet's.

        References in places of their own don't reach it: what it steers lies in its pictures.
        """
        return self._network.prepare(context, vector, num_frames, positions=positions)

    def hooks(self, x: Tensor, sigma: Tensor, constants: RunConstants, pieces: Pieces) -> Hooks:
        """Hooks of an evaluation of the UNet with an input x, (B·T, in_channels, h, w)."""
        if not self._control.acts_at(float(sigma)):
            return NO_HOOKS
        shifts = for_rows(self._shifts.at(sigma), len(x))
        residuals = self._network.residuals(x, shifts, constants, self._embedding, pieces)
        return ControlHooks(residuals, self._weights, self._control.strength)
