"""Scale of the benchmark, small on a CPU and full on a GPU, and the inputs of all peers."""

import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).parent.parent
FPS, MOTION_BUCKET_ID, MIN_GUIDANCE, MAX_GUIDANCE = 7, 127, 1.0, 3.0
SCHEDULE_STEPS, AT_STEP = 25, 10  # the timed guided step is number AT_STEP


@dataclass(frozen=True)
class Scale:
    """Sizes, dtype and device of the whole benchmark."""

    device: str
    dtype: str
    frames: int
    width: int
    height: int
    clip_steps: int  # of the whole clip
    pairs: int
    quick: bool = False  # tiny networks, from the tests
    seed: int = 7

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type that the networks compute in."""
        return getattr(torch, self.dtype)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the latents."""
        return (self.frames, 4, self.height // 8, self.width // 8)

    @property
    def bound(self) -> float:
        """Largest error between outputs of peers, relative to the largest magnitude."""
        return 1e-3 if self.dtype == "float32" else 0.1

    def sized(self, frames: int, width: int, height: int) -> "Scale":
        """This scale with a clip of another size."""
        return replace(self, frames=frames, width=width, height=height)

    def to_json(self) -> str:
        """Writes the scale for `from_json` of another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Scale":
        """Reads a scale that `to_json` wrote."""
        return cls(**json.loads(text))

    def __str__(self) -> str:
        networks = "tiny networks" if self.quick else "full-size random weights"
        return f"{self.frames} frames {self.width}×{self.height}, {self.dtype} on {self.device}, {networks}"


def choose(quick: bool, pairs: int) -> Scale:
    """Chooses the scale for this machine."""
    if quick:
        return Scale("cpu", "float32", 3, 128, 64, clip_steps=2, pairs=pairs, quick=True)
    if torch.cuda.is_available():
        return Scale("cuda", "bfloat16", 25, 1024, 576, clip_steps=25, pairs=pairs)
    return Scale("cpu", "float32", 4, 256, 128, clip_steps=2, pairs=pairs)


@dataclass(frozen=True)
class Inputs:
    """Inputs of every peer, float32 on the CPU."""

    picture: Image.Image  # at the size of the clip, so that no peer resizes it
    noise: Tensor  # (T, 4, h, w)
    x: Tensor  # the noisy latents at sigma
    sigma: Tensor
    context: Tensor  # (1, 1, context_dim)
    concat: Tensor  # (1, 4, h, w)
    latents: Tensor  # of a clip, in the scale of the diffusion model
    pixels: Tensor  # (1, 3, 224, 224), preprocessed for CLIP


def make_inputs(scale: Scale, context_dim: int, plain_picture: bool = False) -> Inputs:
    """Draws the inputs from the seed. plain_picture: one colour, which resizing and cropping leave equal."""
    generator = torch.Generator().manual_seed(scale.seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    noise = draw(*scale.shape)
    ramp = torch.linspace(0, 1, SCHEDULE_STEPS, dtype=torch.float64)
    sigmas = (700 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 700 ** (1 / 7))) ** 7  # Karras et al.
    sigma = sigmas[AT_STEP].float()
    return Inputs(
        picture=_picture(scale, plain_picture),
        noise=noise,
        x=noise * (sigma**2 + 1).sqrt(),
        sigma=sigma,
        context=draw(1, 1, context_dim),
        concat=draw(1, *scale.shape[1:]),
        latents=0.18215 * draw(*scale.shape),
        pixels=draw(1, 3, 224, 224),
    )


def _picture(scale: Scale, plain: bool) -> Image.Image:
    size = (scale.width, scale.height)
    if plain:
        return Image.new("RGB", size, (180, 120, 60))
    picture = Image.open(ROOT / "assets" / "rocket.jpg").convert("RGB").resize(size, Image.Resampling.LANCZOS)
    picture.info = {}  # drops the colour profile, which not every peer applies
    return picture


def find_modules() -> None:
    """Puts the helpers in tests/ on the path; a host finds Stillmotion through PYTHONPATH."""
    tests = str(ROOT / "tests")
    if tests not in sys.path:
        sys.path.insert(0, tests)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a benchmark must not download anything
