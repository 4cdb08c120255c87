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
    """σ > 0, of any shape, to the four scalings in the same shape."""
    variance = sigma**2 + 1
    return Scalings(1 / variance, -sigma / variance.sqrt(), 1 / variance.sqrt(), sigma.log() / 4)


def precondition(network: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A v-predicting network F(x, c_noise) as a denoiser D(x, σ), for a σ of no dimensions."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        c_skip, c_out, c_in, c_noise = scalings(sigma)
        return c_skip * x + c_out * network(c_in * x, c_noise)

    return denoise


def scale_noise(noise: Tensor, sigma: Tensor) -> Tensor:
    """Unit noise to where sampling starts: noise·√(σ² + 1), as the reference does."""
    return noise * (sigma**2 + 1).sqrt()
