"""NaN and infinity: told where they come in or arise, before they become a black clip."""

from collections.abc import Callable

import torch
from torch import Tensor


class NotFiniteError(ValueError):
    """NaN or infinity where numbers were due."""


def check_finite(x: Tensor, where: str) -> None:
    """Raises NotFiniteError for NaN or infinity in a tensor; waits for its device."""
    if not torch.isfinite(x).all():
        raise NotFiniteError(f"NaN or infinity {where}.")


def check_latents_to_decode(latents: Tensor) -> None:
    """Raises NotFiniteError for latents that would come out black."""
    check_finite(latents, "in the latents to decode: sampling went wrong, or the file")


def complaint_of_sampling(where: str, dtype: torch.dtype, remedy: str) -> NotFiniteError:
    """The error for numbers that a UNet in that dtype gave; the remedy is a wider dtype, in words."""
    cause = "The checkpoint is damaged or the settings are far outside of what it was trained for"
    if dtype == torch.float16:
        cause = f"float16 overflowed: {remedy}"
    return NotFiniteError(f"NaN or infinity {where}. {cause}.")


class FiniteCheck:
    """Calls `complain(where)` for a tensor with NaN or infinity in it, on a GPU one tensor late.

    To ask at once would leave the GPU idle until the answer is there and the next step is queued.
    """

    def __init__(self, complain: Callable[[str], None]):
        self._complain = complain
        self._asked: tuple[str, Tensor, torch.cuda.Event] | None = None

    def look_at(self, x: Tensor, where: str) -> None:
        """Asks for x, which `where` describes, and complains of it or of the tensor before."""
        finite = torch.isfinite(x).all()
        if x.device.type != "cuda":
            self._answer(finite, where)
            return
        answer, arrived = finite.to("cpu", non_blocking=True), torch.cuda.Event()
        arrived.record()
        self.finish()
        self._asked = where, answer, arrived

    def finish(self) -> None:
        """Complains of the last tensor, if it has to."""
        if self._asked is None:
            return
        (where, answer, arrived), self._asked = self._asked, None
        arrived.synchronize()
        self._answer(answer, where)

    def _answer(self, finite: Tensor, where: str) -> None:
        if not finite:
            self._complain(where)
