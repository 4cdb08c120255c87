"""Time shifts of a network's residual blocks in a run, computed in advance for its noise levels."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ...samplers.preconditioning import scalings
from ...svd_model.networks.residual import TimeShifts
from ...svd_model.networks.stages import ContractingPath, RunConstants, StepShifts
from .devices import to_device

_MOST_ROWS = 4096
"""Limit of steps × frames with precomputed shifts; each takes about 80 kB in float16."""


class ShiftTable:
    """Shifts by σ, of 1 or T rows as the vector (1 or T, vector_dim) has; `sigmas` are computed at once."""

    def __init__(
        self, network: ContractingPath, vector: Tensor, dtype: torch.dtype, sigmas: Iterable[Tensor]
    ):
        self._network = network
        self._vector = network.label_emb(vector.to(dtype))  # (1 or T, E)
        self._shifts = self._compute([sigma for sigma in sigmas if sigma > 0])

    def at(self, sigma: Tensor) -> StepShifts:
        """Shifts at a σ."""
        shifts = self._shifts.get(float(sigma))
        return self._compute([sigma])[float(sigma)] if shifts is None else shifts

    def _compute(self, sigmas: list[Tensor]) -> dict[float, StepShifts]:
        """Shifts at each σ, from one pass through their layers."""
        rows = self._vector.shape[0]
        sigmas = sigmas[: _MOST_ROWS // rows]
        if not sigmas:
            return {}
        steps = torch.stack([scalings(sigma).c_noise for sigma in sigmas]).repeat_interleave(rows)
        steps = to_device(steps, self._vector.device)
        constants = RunConstants(self._vector.repeat(len(sigmas), 1), (), 1)
        shifts = self._network.shifts(steps, constants)
        return {
            float(sigma): each(shifts, lambda rows_of, i=i: rows_of[i * rows : (i + 1) * rows])
            for i, sigma in enumerate(sigmas)
        }


def for_rows(shifts: StepShifts, rows: int) -> StepShifts:
    """Shifts repeated for a number of rows, the frames of several branches."""
    repeats = rows // shifts[-1][-1].spatial.shape[0]
    return each(shifts, lambda rows_of: rows_of.repeat(repeats, 1))


def each(shifts: StepShifts, change: Callable[[Tensor], Tensor]) -> StepShifts:
    """Applies a change to every tensor of the shifts."""
    return tuple(tuple(TimeShifts(*map(change, block)) for block in stage) for stage in shifts)
