"""Numbers of methods for motion and guidance, and the closed-form denoiser on which they were computed.

GOLDEN_MOTION names another file of the same kind, GOLDEN_PREFIX the prefix its tensors were named with. All
is computed in float64 and stored in float32.
"""

import os

import torch
from safetensors.torch import load_file
from torch import Tensor

from stillmotion.samplers.guidance import CONDITIONAL, SPATIAL, TEMPORAL, UNCONDITIONAL
from stillmotion.samplers.schedules import karras

from . import golden_time
from .golden_time import FOLDER, draw, ramp, weight

golden_time.GOLDEN.update(load_file(os.environ.get("GOLDEN_MOTION") or FOLDER / "golden_motion.safetensors"))

FRAMES = 5
SCALES = ramp(1, 3, FRAMES)
SIGMA = torch.tensor(3.7, dtype=torch.float64)
BRANCHES = {CONDITIONAL: "cond", UNCONDITIONAL: "uncond", SPATIAL: "spatial", TEMPORAL: "temporal"}


def check(name: str, value: Tensor) -> None:
    """Asserts that a value is an entry's within the bound of all such numbers."""
    golden_time.check(f"motion.{name}", value)


def levels(steps: int, sigma_max: float = 700.0) -> Tensor:
    return karras(steps, sigma_max=sigma_max).double()


def noise() -> Tensor:
    return draw("motion.noise", FRAMES, 4, 8, 12)


def at() -> Tensor:
    """The x of entries of a single evaluation."""
    return 3.7 * draw("motion.x", FRAMES, 4, 8, 12)


def start(sigmas: Tensor) -> Tensor:
    return noise() * (sigmas[0] ** 2 + 1).sqrt()


def evaluate(branches, x: Tensor, sigma: Tensor) -> list[Tensor]:
    """Clean estimates of the closed form."""
    return [_estimate(BRANCHES[name], x, sigma) for name in branches]


def _estimate(branch: str, x: Tensor, sigma: Tensor) -> Tensor:
    root = (sigma**2 + 1).sqrt()
    u = x / root
    earlier = torch.cat([torch.zeros_like(u[:1]), u[:-1]])
    mixed = torch.einsum("oi,tihw->tohw", weight(f"motion.W.{branch}", 4, 4), u)
    picture, places = draw(f"motion.B.{branch}", 1, 4, 8, 12), draw("motion.ramp", FRAMES, 1, 1, 1)
    f = (mixed + 0.4 * earlier + 0.5 * picture + 0.3 * places + 0.05 * sigma.log()).tanh()
    return x / (sigma**2 + 1) - sigma / root * f
