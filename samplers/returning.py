"""Euler steps that return to an earlier level with fresh noise and go down once more.

Where a denoiser is a mean of two that disagree, going down several times lets them agree.
"""

from collections.abc import Collection

from torch import Tensor

from .bidirectional import noised
from .solvers import Callback, Denoiser, Noise, silent


def returning_euler(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    callback: Callback = silent,
    after: Collection[int],
    length: int = 1,
    times: int = 1,
    strength: float = 1.0,
) -> Tensor:
    """Euler's solver, which returns over `length` steps after the steps in `after`, so many times each.

    strength: factor of the noise on the way back up. callback is called once a step, the first time.
    """

    def step(x: Tensor, i: int) -> tuple[Tensor, Tensor]:
        denoised = denoise(x, sigmas[i])
        return x + (sigmas[i + 1] - sigmas[i]) * (x - denoised) / sigmas[i], denoised

    for i in range(len(sigmas) - 1):
        x_start = x
        x, denoised = step(x, i)
        callback(i, x_start, denoised)
        for _ in range(times if i in after else 0):
            for above in range(i, i - length, -1):
                x = noised(x, sigmas[above], sigmas[above + 1], noise, strength)
            for again in range(i - length + 1, i + 1):
                x, _ = step(x, again)
    return x


def time_reversal_steps(steps: int, length: int = 5, share: float = 0.8) -> list[int]:
    """The steps after which time-reversal fusion (Feng et al., 2024) returns: early ones, `length` apart."""
    return [steps - 1 - late for late in range(int(share * steps), steps - length, length)]
