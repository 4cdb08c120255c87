"""Numbers of methods over time, and the closed-form denoisers on which they were computed.

Two sets: `time.…` follows the papers' equations, `control.…` came out of their authors' code. GOLDEN_TIME
and GOLDEN_CONTROL name other files of the same kind, GOLDEN_PREFIX the prefix their tensors were named with.
All is computed in float64 and stored in float32.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from stillmotion.samplers.guidance import CONDITIONAL, UNCONDITIONAL, cfg, guided
from stillmotion.samplers.schedules import karras

from .named_tensors import NamedTensors

FOLDER = Path(__file__).parent.parent / "golden"
NAMED = NamedTensors(os.environ.get("GOLDEN_PREFIX", ""))
GOLDEN = {
    **load_file(os.environ.get("GOLDEN_TIME") or FOLDER / "golden_time.safetensors"),
    **{
        f"control.{name}": value
        for name, value in load_file(
            os.environ.get("GOLDEN_CONTROL") or FOLDER / "golden_control.safetensors"
        ).items()
    },
}
BOUND = 1e-5
"""Largest difference, relative to an entry's largest number."""

LATENT_SCALE = 0.18215


def draw(name: str, *shape: int) -> Tensor:
    """An input of a set, float64."""
    return NAMED.input(name, shape).double()


def weight(name: str, *shape: int) -> Tensor:
    return NAMED.weight(name, shape).double()


def check(name: str, value: Tensor) -> None:
    """Asserts that a value is an entry's within the bound."""
    expected = GOLDEN[name].double()
    assert value.shape == expected.shape
    error = (value - expected).abs().max() / expected.abs().max()
    assert error <= BOUND, f"{name} is {error:.1e} of its largest number off; {BOUND:g} is allowed"


def counted_noise(pattern: str, *shape: int) -> Callable[[Tensor], Tensor]:
    """The k-th noise of a run, from k = 0; the pattern holds the place of k."""

    def count() -> Iterator[Tensor]:
        number = 0
        while True:
            yield draw(pattern.format(number), *shape)
            number += 1

    drawn = count()
    return lambda x: next(drawn)


def ramp(start: float, end: float, frames: int) -> Tensor:
    return torch.linspace(start, end, frames, dtype=torch.float64)


@dataclass(frozen=True)
class Picture:
    """A picture's conditions, its latent, and a closed form that is led by them."""

    concat: Tensor
    token: Tensor
    latent: Tensor  # (1, 4, h, w)
    network: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # (x, σ, concat, token) -> D

    def evaluate(self, branches, x: Tensor, sigma: Tensor) -> list[Tensor]:
        """Estimates of the branches that guidance compares."""
        scale = {CONDITIONAL: 1, UNCONDITIONAL: 0}
        return [
            self.network(x, sigma, scale[name] * self.concat, scale[name] * self.token) for name in branches
        ]

    def estimates(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        conditional, unconditional = self.evaluate((CONDITIONAL, UNCONDITIONAL), x, sigma)
        return conditional, unconditional

    def guided(self, scales: Tensor):
        """The denoiser guided by scales of frames, counted from the picture."""
        return guided(self.evaluate, [cfg(scales)])


# The set `time`

SIGMAS = karras(10).double()
SHAPE = (4, 8, 12)


def time_network(u_x: Tensor, sigma: Tensor, concat: Tensor, token: Tensor) -> Tensor:
    root = (sigma**2 + 1).sqrt()
    u = u_x / root
    frames = torch.arange(len(u), dtype=torch.float64)
    v = u.clone()
    v[1:] += 0.5 * u[:-1]
    v[:-1] -= 0.25 * u[1:]
    a = torch.einsum("oi,tihw->tohw", weight("time.mix", 4, 4), v)
    a = a + concat / (1 + frames).view(-1, 1, 1, 1)
    turned = (weight("time.token_mix", 4, 16) @ token)[None] * (0.7 * frames).cos()[:, None]
    f = (a + turned[..., None, None]).tanh() * (1 + 0.2 * (sigma.log() / 4).sin())
    return u_x / (sigma**2 + 1) - sigma / root * f


def time_picture(name: str) -> Picture:
    return Picture(
        draw(f"time.{name}.concat", *SHAPE),
        draw(f"time.{name}.token", 16),
        draw(f"time.{name}.latent", *SHAPE)[None],
        time_network,
    )


def time_start(name: str = "time.x", frames: int = 5) -> Tensor:
    """The x that a run starts from."""
    return draw(name, frames, *SHAPE) * (SIGMAS[0] ** 2 + 1).sqrt()


def time_noise() -> Callable[[Tensor], Tensor]:
    """The noise of a run of 5 frames; a longer run's is drawn in its shape."""
    count = iter(range(10**6))
    return lambda x: draw(f"time.noise.{next(count)}", *x.shape)


# The set `control`


def control_network(x: Tensor, sigma: Tensor, concat: Tensor, token: Tensor) -> Tensor:
    before = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
    places = 0.2 * draw("toy.ramp", 32, 1, 1, 1)[: len(x)]
    return ((0.9 * x + 0.3 * before) / (sigma**2 + 1).sqrt() + 0.5 * concat + 0.25 * token + places).tanh()


def control_picture(name: str) -> Picture:
    return Picture(
        draw(f"toy.{name}.concat", 1, 4, 8, 8),
        draw(f"toy.{name}.context", 1, 1, 16).mean(),
        draw(f"z.{name}", 1, 4, 8, 8),
        control_network,
    )
