"""The UNet: the EDM loss on single frames, then on small windows of clips, then on whole clips.

Windows of 8×8 latents cost a quarter of whole clips of 16×16, and teach the same motion.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stillmotion.clips.conditions import FEATURE_DIM
from stillmotion.samplers.preconditioning import scalings
from stillmotion.svd_model.networks.embedding import sinusoidal_embedding

from . import clips, precision, sizes
from .loop import Stage, share, train

LOG_SIGMA_MEAN, LOG_SIGMA_STD = 0.7, 1.6
LOG_SIGMA_RANGE, UNIFORM = (-6.2, 6.6), 0.1
"""One clip in ten has its ln σ from anywhere in the schedule's range, so that both ends are learnt."""
DROPOUT = 0.12


@dataclass(frozen=True)
class Batch:
    """How many clips a step takes, of all processes together, and what of each."""

    clips: int
    frames: int
    window: int  # latents, in both directions


STAGES = (
    (Stage("unet_pictures", 200, 1.2e-3, warm_up=50, average=0.99), Batch(24, 1, 16)),
    (Stage("unet_windows", 3400, 1.2e-3, warm_up=100, average=0.998), Batch(8, clips.NUM_FRAMES, 8)),
    (Stage("unet", 1200, 7e-4, warm_up=50, average=0.998, save_every=50), Batch(4, clips.NUM_FRAMES, 16)),
    (
        Stage("unet_longer", 2800, 5e-4, warm_up=50, average=0.998, save_every=50),
        Batch(4, clips.NUM_FRAMES, 16),
    ),
)


@dataclass(frozen=True)
class Examples:
    """A batch, as the networks take it; the first axis is the clip."""

    latents: Tensor  # (B, T, 4, h, w), scaled
    concat: Tensor  # (B, 4, h, w), not scaled
    context: Tensor  # (B, context_dim)
    vector: Tensor  # (B, 768)
    sigmas: Tensor  # (B,)


def embed(numbers: Tensor) -> Tensor:
    """fps less one, motion bucket and noise augmentation, (B, 3) -> the UNet's vector, (B, 768)."""
    return sinusoidal_embedding(numbers.flatten(), FEATURE_DIM).unflatten(0, (len(numbers), 3)).flatten(1)


def draw(pool: dict[str, Tensor], batch: Batch, seed: tuple[int, ...]) -> Examples:
    """A batch, always the same of the same seed; some clips lose their conditions."""
    rng = np.random.default_rng(seed)
    count = share(batch.clips)
    chosen = torch.from_numpy(rng.integers(0, len(pool["latents"]), count))
    variant = torch.from_numpy(rng.integers(0, pool["augs"].shape[1], count))
    top, left = rng.integers(0, pool["latents"].shape[-1] - batch.window + 1, 2)
    window = (..., slice(top, top + batch.window), slice(left, left + batch.window))
    kept = torch.from_numpy(rng.random(count) >= DROPOUT).float()
    log_sigma = rng.normal(LOG_SIGMA_MEAN, LOG_SIGMA_STD, count)
    anywhere = rng.random(count) < UNIFORM
    log_sigma[anywhere] = rng.uniform(*LOG_SIGMA_RANGE, anywhere.sum())
    augs = pool["augs"][chosen, variant]
    return Examples(
        pool["latents"][chosen, : batch.frames].float()[window],
        pool["concats"][chosen, variant].float()[window] * kept[:, None, None, None],
        pool["contexts"][chosen] * kept[:, None],
        embed(torch.cat([pool["numbers"][chosen], augs[:, None]], dim=1)),
        torch.from_numpy(np.exp(log_sigma)).float(),
    )


def loss(unet: nn.Module, examples: Examples, noise: Tensor) -> Tensor:
    """The EDM loss, whose weight (σ² + 1)/σ² makes it the plain error of v: (B,)."""
    frames = examples.latents.shape[1]
    c_skip, c_out, c_in, c_noise = (c.view(-1, 1, 1, 1, 1) for c in scalings(examples.sigmas))
    noisy = examples.latents + examples.sigmas.view(-1, 1, 1, 1, 1) * noise
    target = (examples.latents - c_skip * noisy) / c_out
    concat = examples.concat[:, None].expand(-1, frames, -1, -1, -1)
    x = torch.cat([c_in * noisy, concat], dim=2).flatten(0, 1)  # (B, T, 8, h, w) -> (B·T, 8, h, w)
    steps = c_noise.flatten().repeat_interleave(frames)
    context = examples.context[:, None].repeat_interleave(frames, dim=0)
    vector = examples.vector.repeat_interleave(frames, dim=0)
    inputs = [tensor.to(sizes.DEVICE) for tensor in (x, steps, context, vector)]
    with precision.autocast(sizes.DEVICE):
        predicted = unet(*inputs, frames)
    return (predicted.float().cpu().unflatten(0, (-1, frames)) - target).square().mean(dim=(1, 2, 3, 4))


def train_unet(folder: Path, pool: dict[str, Tensor]) -> nn.Module:
    """All stages in turn, each from the averaged weights of the one before; returns the last one's."""
    unet = sizes.unet()
    with torch.no_grad():
        unet.input_blocks[0][0].weight[:, 4:] *= 0.2  # the concat latents are 5.5 times as large
    for number, (stage, batch) in enumerate(STAGES):

        def losses(step: int, network=unet, number=number, batch=batch) -> dict[str, Tensor]:
            examples = draw(pool, batch, (sizes.SEED, sizes.BATCHES, number, step))
            generator = torch.Generator().manual_seed(step + 1_000_000 * number)
            noise = torch.randn(examples.latents.shape, generator=generator)
            by_clip = loss(network, examples, noise)
            numbers = {"loss": by_clip.mean()}
            for name, low, high in (("low", 0, 1), ("middle", 1, 8), ("high", 8, 1e9)):
                inside = (examples.sigmas >= low) & (examples.sigmas < high)
                numbers[name] = by_clip.detach()[inside].mean() if inside.any() else torch.tensor(torch.nan)
            return numbers

        unet = train(stage, unet, losses, folder).requires_grad_(True)
    return unet.eval().requires_grad_(False)
