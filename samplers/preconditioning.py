"""EDM preconditioning for v-prediction (Karras et al., 2022; Salimans & Ho, 2022), with σ_data = 1."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Scalings(NamedTuple):
    """The four functions of σ in D(x, σ) = c_skip·x + c_out·F(c_in·x, c_noise)."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def scalings(sigma: Tensor) -> Scalings:
    """The four scalings of σ > 0, each in the shape of σ."""
    variance = sigma**2 + 1
    return Scalings(1 / variance, -sigma / variance.sqrt(), 1 / variance.sqrt(), sigma.log() / 4)


def precondition(network: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The denoiser D(x, σ) of a v-predicting network F(x, c_noise); σ is a scalar, ()."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        c_skip, c_out, c_in, c_noise = scalings(sigma)
        return c_skip * x + c_out * network(c_in * x, c_noise)

    return denoise


def scale_noise(noise: Tensor, sigma: Tensor) -> Tensor:
    """The x that sampling starts from, of N(0, 1) noise: noise·√(σ² + 1), as in the reference."""
    return noise * (sigma**2 + 1).sqrt()
