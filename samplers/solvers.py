"""Solvers of the probability flow ODE and its SDEs, each a plain function.

`denoise(x, sigma)` returns the clean estimate; `sigmas` falls and ends in 0; `x` starts at sigmas[0].
`noise(x)` returns fresh N(0, 1) in the shape of x. `callback(step, x, denoised)` is called once a step, with
the x at its start.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial

from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[Tensor], Tensor]
Callback = Callable[[int, Tensor, Tensor], None]


def silent(*_: object) -> None:
    """No-op callback."""


def euler(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    callback: Callback = silent,
    churn: float = 0.0,
) -> Tensor:
    """Karras et al. (2022), Algorithm 2 with Euler steps; churn is S_churn."""
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        x_hat, sigma_hat = _churned(x, sigma, churn, len(sigmas) - 1, noise)
        denoised = denoise(x_hat, sigma_hat)
        callback(i, x, denoised)
        d = (x_hat - denoised) / sigma_hat
        x = x_hat + (sigma_next - sigma_hat) * d
    return x


def heun(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    callback: Callback = silent,
    churn: float = 0.0,
) -> Tensor:
    """Karras et al. (2022), Algorithm 2: second order, two evaluations a step, one in the last."""
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        x_hat, sigma_hat = _churned(x, sigma, churn, len(sigmas) - 1, noise)
        denoised = denoise(x_hat, sigma_hat)
        callback(i, x, denoised)
        d = (x_hat - denoised) / sigma_hat
        x = x_hat + (sigma_next - sigma_hat) * d
        if sigma_next > 0:
            d_next = (x - denoise(x, sigma_next)) / sigma_next
            x = x_hat + (sigma_next - sigma_hat) * (d + d_next) / 2
    return x


def euler_ancestral(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Noise, callback: Callback = silent
) -> Tensor:
    """Euler steps past the next level, then fresh noise up to it (k-diffusion's ancestral step, η = 1)."""
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(i, x, denoised)
        sigma_down = sigma_next**2 / sigma
        x = denoised + (sigma_down / sigma) * (x - denoised)
        if sigma_next > 0:
            x = x + (sigma_next**2 - sigma_down**2).sqrt() * noise(x)
    return x


def dpmpp_2m(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Noise, callback: Callback = silent
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al., 2022), of second order by the previous step; draws no noise."""
    previous, previous_h = None, None
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(i, x, denoised)
        if sigma_next == 0:
            return denoised
        h = (sigma / sigma_next).log()
        estimate = denoised
        if previous is not None:
            estimate = denoised + h / (2 * previous_h) * (denoised - previous)
        x = (sigma_next / sigma) * x - (-h).expm1() * estimate
        previous, previous_h = denoised, h
    return x


def dpmpp_2m_sde(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Noise, callback: Callback = silent
) -> Tensor:
    """SDE-DPM-Solver++(2M), midpoint form, η = 1 (Lu et al., 2022)."""
    previous, previous_h = None, None
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(i, x, denoised)
        if sigma_next == 0:
            return denoised
        h = (sigma / sigma_next).log()
        estimate = denoised
        if previous is not None:
            estimate = denoised + h / (2 * previous_h) * (denoised - previous)
        x = (sigma_next / sigma) * (-h).exp() * x - (-2 * h).expm1() * estimate
        x = x + sigma_next * (-(-2 * h).expm1()).sqrt() * noise(x)
        previous, previous_h = denoised, h
    return x


def lcm(denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Noise, callback: Callback = silent) -> Tensor:
    """Multistep consistency sampling (Song et al., 2023): fresh noise of the next level on each estimate."""
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(i, x, denoised)
        x = denoised + sigma_next * noise(x) if sigma_next > 0 else denoised
    return x


SOLVERS = {
    "euler": euler,
    "heun": heun,
    "euler_ancestral": euler_ancestral,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_sde": dpmpp_2m_sde,
    "lcm": lcm,
}
CHURNING = ("euler", "heun")
"""Names of the solvers that take a churn."""


def find_solver(name: str, churn: float = 0.0) -> Callable[..., Tensor]:
    """The solver of a name, bound to a churn where it takes one."""
    return partial(SOLVERS[name], churn=churn) if name in CHURNING else SOLVERS[name]


def _churned(x: Tensor, sigma: Tensor, churn: float, steps: int, noise: Noise) -> tuple[Tensor, Tensor]:
    """x with noise added up to σ̂ = σ·(1 + γ), γ = min(S_churn/steps, √2 − 1)."""
    if churn == 0:
        return x, sigma
    sigma_hat = sigma * (1 + min(churn / steps, math.sqrt(2) - 1))
    return x + (sigma_hat**2 - sigma**2).sqrt() * noise(x), sigma_hat
