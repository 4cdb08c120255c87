"""Hidden rows that the first pass over time computes and the second reads."""

import torch
from torch import Tensor

from ..networks import kernels, planes


class RowCache:
    """Bands (T, C, rows, W), contiguous from row 0."""

    def __init__(self, device: torch.device):
        self._band_by_band = planes.fits(device)  # on a CPU many small tensors leave holes in the heap
        self._bands: dict[tuple[int, int], Tensor] = {}
        self._one_tensor: Tensor | None = None
        self._end = 0  # the first row that is not cached

    @property
    def allocated_rows(self) -> int:
        """Number of rows that memory is allocated for."""
        return self._end if self._one_tensor is None else self._one_tensor.shape[2]

    def put(self, rows: slice, band: Tensor, max_rows: int) -> None:
        """Caches a band that continues the cached rows and ends within max_rows; ignores any other."""
        max_rows = max_rows if self._one_tensor is None else self._one_tensor.shape[2]
        if rows.start != self._end or rows.stop > max_rows:
            return
        if self._band_by_band:
            self._bands[rows.start, rows.stop] = band
        else:
            if self._one_tensor is None:
                self._one_tensor = kernels.empty((*band.shape[:2], max_rows, band.shape[3]), band)
            self._one_tensor[:, :, rows] = band
        self._end = rows.stop

    def get(self, rows: slice) -> Tensor | None:
        """Returns the cached band, or None; on a GPU only a band with the bounds that it was put with."""
        if self._band_by_band:
            return self._bands.get((rows.start, rows.stop))
        return self._one_tensor[:, :, rows] if rows.stop <= self._end else None

    def clear(self) -> None:
        """Frees all rows."""
        self._bands, self._one_tensor, self._end = {}, None, 0
