"""The UNet: EDM loss on single frames, then on small windows of clips, then on whole clips.

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
LOG_SIGMA_RANGE, UNIFORM_SHARE = (-6.2, 6.6), 0.1
"""For one clip in ten ln σ is uniform over the schedule's range, so that both ends are learnt."""
DROPOUT = 0.12


@dataclass(frozen=True)
class Batch:
    """Size of a step's batch, over all processes."""

    clips: int
    frames: int
    window: int  # height and width of the excerpt, in latents


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
    """A batch of training examples; the first axis is the clip."""

    latents: Tensor  # (B, T, 4, h, w), scaled
    concat: Tensor  # (B, 4, h, w), not scaled
    context: Tensor  # (B, context_dim)
    vector: Tensor  # (B, 768)
    sigmas: Tensor  # (B,)


def embed(numbers: Tensor) -> Tensor:
    """Embeds fps − 1, motion bucket and noise augmentation, (B, 3), as the UNet's vector, (B, 768)."""
    return sinusoidal_embedding(numbers.flatten(), FEATURE_DIM).unflatten(0, (len(numbers), 3)).flatten(1)


def draw(pool: dict[str, Tensor], batch: Batch, seed: tuple[int, ...]) -> Examples:
    """Draws a batch from the seed alone; a share DROPOUT of the clips loses its picture."""
    rng = np.random.default_rng(seed)
    count = share(batch.clips)
    indices = torch.from_numpy(rng.integers(0, len(pool["latents"]), count))
    variant = torch.from_numpy(rng.integers(0, pool["augs"].shape[1], count))
    top, left = rng.integers(0, pool["latents"].shape[-1] - batch.window + 1, 2)
    window = (..., slice(top, top + batch.window), slice(left, left + batch.window))
    conditioned = torch.from_numpy(rng.random(count) >= DROPOUT).float()
    log_sigma = rng.normal(LOG_SIGMA_MEAN, LOG_SIGMA_STD, count)
    uniform = rng.random(count) < UNIFORM_SHARE
    log_sigma[uniform] = rng.uniform(*LOG_SIGMA_RANGE, uniform.sum())
    augs = pool["augs"][indices, variant]
    return Examples(
        pool["latents"][indices, : batch.frames].float()[window],
        pool["concats"][indices, variant].float()[window] * conditioned[:, None, None, None],
        pool["contexts"][indices] * conditioned[:, None],
        embed(torch.cat([pool["numbers"][indices], augs[:, None]], dim=1)),
        torch.from_numpy(np.exp(log_sigma)).float(),
    )


def loss(unet: nn.Module, examples: Examples, noise: Tensor) -> Tensor:
    """EDM loss of each clip, (B,). Its weight (σ² + 1)/σ² makes it the squared error of v."""
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
    """Trains all stages, each from the averaged weights of the previous stage; returns the last ones."""
    unet = sizes.unet()
    with torch.no_grad():
        unet.input_blocks[0][0].weight[:, 4:] *= 0.2  # the concat latents are 5.5 times as large
    for number, (stage, batch) in enumerate(STAGES):

        def losses(step: int, network=unet, number=number, batch=batch) -> dict[str, Tensor]:
            examples = draw(pool, batch, (sizes.SEED, sizes.BATCHES, number, step))
            generator = torch.Generator().manual_seed(step + 1_000_000 * number)
            noise = torch.randn(examples.latents.shape, generator=generator)
            clip_losses = loss(network, examples, noise)
            values = {"loss": clip_losses.mean()}
            for name, low, high in (("low", 0, 1), ("middle", 1, 8), ("high", 8, 1e9)):
                inside = (examples.sigmas >= low) & (examples.sigmas < high)
                values[name] = (
                    clip_losses.detach()[inside].mean() if inside.any() else torch.tensor(torch.nan)
                )
            return values

        unet = train(stage, unet, losses, folder).requires_grad_(True)
    return unet.eval().requires_grad_(False)
