"""Rows of all frames that one pass over a layer leaves for the next."""

import torch
from torch import Tensor

from ..networks import kernels, planes


class KeptRows:
    """Bands (T, C, rows, W) from the first row on, without a gap."""

    def __init__(self, device: torch.device):
        self._as_they_are = planes.fits(device)  # elsewhere many small ones would leave holes in the heap
        self._bands: dict[tuple[int, int], Tensor] = {}
        self._one_piece: Tensor | None = None
        self._end = 0  # up to which row they are there

    @property
    def room(self) -> int:
        """How many rows there is memory taken for."""
        return self._end if self._one_piece is None else self._one_piece.shape[2]

    def put(self, rows: slice, band: Tensor, most: int) -> None:
        """Keeps a band, where there is room for that many rows at most and none before it is missing."""
        most = most if self._one_piece is None else self._one_piece.shape[2]
        if rows.start != self._end or rows.stop > most:
            return
        if self._as_they_are:
            self._bands[rows.start, rows.stop] = band
        else:
            if self._one_piece is None:
                self._one_piece = kernels.empty((*band.shape[:2], most, band.shape[3]), band)
            self._one_piece[:, :, rows] = band
        self._end = rows.stop

    def get(self, rows: slice) -> Tensor | None:
        """A band, if it is there; in planes, if it was put as that band."""
        if self._as_they_are:
            return self._bands.get((rows.start, rows.stop))
        return self._one_piece[:, :, rows] if rows.stop <= self._end else None

    def clear(self) -> None:
        """Lets go of everything."""
        self._bands, self._one_piece, self._end = {}, None, 0
