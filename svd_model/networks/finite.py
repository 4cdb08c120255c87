"""Checks for NaN and infinity where they come in or arise, before they become a black clip."""

from collections.abc import Callable

import torch
from torch import Tensor


class NotFiniteError(ValueError):
    """Error of NaN or infinity in place of numbers."""


def check_finite(x: Tensor, where: str) -> None:
    """Raise NotFiniteError for NaN or infinity in a tensor. The call waits for the tensor's device."""
    if not torch.isfinite(x).all():
        raise NotFiniteError(f"NaN or infinity {where}.")


def check_latents_to_decode(latents: Tensor) -> None:
    """Raise NotFiniteError for latents that would be decoded to black."""
    check_finite(latents, "in the latents to decode: sampling went wrong, or the file")


def complaint_of_sampling(where: str, dtype: torch.dtype, remedy: str) -> NotFiniteError:
    """Error for the output of a UNet in that dtype. remedy: a wider dtype, in words."""
    cause = "The checkpoint is damaged or the settings are far outside of what it was trained for"
    if dtype == torch.float16:
        cause = f"float16 overflowed: {remedy}"
    return NotFiniteError(f"NaN or infinity {where}. {cause}.")


class FiniteCheck:
    """Check that calls `complain(where)` for a tensor with NaN or infinity, on a GPU one tensor late.

    A wait for the answer would leave the GPU idle until the next step is queued.
    """

    def __init__(self, complain: Callable[[str], None]):
        self._complain = complain
        self._asked: tuple[str, Tensor, torch.cuda.Event] | None = None

    def look_at(self, x: Tensor, where: str) -> None:
        """Check x, which `where` describes. On a GPU complain of x at the next call or at finish."""
        finite = torch.isfinite(x).all()
        if x.device.type != "cuda":
            self._answer(finite, where)
            return
        answer, arrived = finite.to("cpu", non_blocking=True), torch.cuda.Event()
        arrived.record()
        self.finish()
        self._asked = where, answer, arrived

    def finish(self) -> None:
        """Complain of the last tensor, where it is not finite."""
        if self._asked is None:
            return
        (where, answer, arrived), self._asked = self._asked, None
        arrived.synchronize()
        self._answer(answer, where)

    def _answer(self, finite: Tensor, where: str) -> None:
        if not finite:
            self._complain(where)
