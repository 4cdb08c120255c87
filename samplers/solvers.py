"""Solvers of the probability flow ODE and its SDEs, each a plain function.

`denoise(x, sigma)` returns the clean estimate; `sigmas` falls and ends in 0; `x` starts at sigmas[0].
`noise(x)` returns fresh N(0, 1) in the shape of x. `callback(step, x, denoised)`, if given, is called once a
step, with the x that the step started from.
"""

import itertools
import math
from collections.abc import Callable

from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[Tensor], Tensor]
Callback = Callable[[int, Tensor, Tensor], None]


def _silent(step: int, x: Tensor, denoised: Tensor) -> None:
    """The callback of who needs none."""


def euler(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise,
    callback: Callback = _silent,
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
    callback: Callback = _silent,
    churn: float = 0.0,
) -> Tensor:
    """Karras et al. (2022), Algorithm 2: second order, two evaluations a step but for the last."""
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
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Noise, callback: Callback = _silent
) -> Tensor:
    """Euler down past the next level, then fresh noise up to it (k-diffusion's ancestral step with η = 1)."""
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(i, x, denoised)
        sigma_down = sigma_next**2 / sigma
        x = denoised + (sigma_down / sigma) * (x - denoised)
        if sigma_next > 0:
            x = x + (sigma_next**2 - sigma_down**2).sqrt() * noise(x)
    return x


def dpmpp_2m(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Noise, callback: Callback = _silent
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al., 2022), second order from the step before; takes no noise."""
    denoised_before, h_before = None, None
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(i, x, denoised)
        if sigma_next == 0:
            return denoised
        h = (sigma / sigma_next).log()
        estimate = denoised
        if denoised_before is not None:
            estimate = denoised + h / (2 * h_before) * (denoised - denoised_before)
        x = (sigma_next / sigma) * x - (-h).expm1() * estimate
        denoised_before, h_before = denoised, h
    return x


def dpmpp_2m_sde(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Noise, callback: Callback = _silent
) -> Tensor:
    """SDE-DPM-Solver++(2M), midpoint form, η = 1 (Lu et al., 2022)."""
    denoised_before, h_before = None, None
    for i, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(i, x, denoised)
        if sigma_next == 0:
            return denoised
        h = (sigma / sigma_next).log()
        estimate = denoised
        if denoised_before is not None:
            estimate = denoised + h / (2 * h_before) * (denoised - denoised_before)
        x = (sigma_next / sigma) * (-h).exp() * x - (-2 * h).expm1() * estimate
        x = x + sigma_next * (-(-2 * h).expm1()).sqrt() * noise(x)
        denoised_before, h_before = denoised, h
    return x


def lcm(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, noise: Noise, callback: Callback = _silent
) -> Tensor:
    """Multistep consistency sampling (Song et al., 2023): to the clean estimate, then noise on it."""
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
"""Those that take a churn."""


def _churned(x: Tensor, sigma: Tensor, churn: float, steps: int, noise: Noise) -> tuple[Tensor, Tensor]:
    """x with noise added up to σ̂ = σ·(1 + γ), γ = min(S_churn/steps, √2 − 1)."""
    if churn == 0:
        return x, sigma
    sigma_hat = sigma * (1 + min(churn / steps, math.sqrt(2) - 1))
    return x + (sigma_hat**2 - sigma**2).sqrt() * noise(x), sigma_hat
