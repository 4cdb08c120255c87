"""The VAE: encoder and frame-wise decoder on pictures, then the temporal decoder on clips.

The encoder is then frozen, after its latents have been brought to zero mean and a standard deviation of
1 / LATENT_SCALE: the diffusion model expects unit variance.
"""

from copy import deepcopy
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from stillmotion.svd_model.networks.vae import LATENT_SCALE

from . import clips, precision, scenes, sizes
from .loop import RANK, Stage, share, train

PICTURES, CANVAS = 2000, 160
BATCH = 8
KL_WEIGHT = 0.015
SMALL_ERROR = 0.002
"""Squared error below which a picture counts for less and less in the loss."""
EXCERPTS, FRAMES = 2, 7
"""Excerpts per step of the temporal decoder, and frames per excerpt: an output depends on few neighbours."""
JITTER = 0.15
"""Standard deviation of the noise added in half of the steps, in standard deviations of the latents."""
PICTURE_STAGES = (Stage("vae", 2400, 1.5e-3), Stage("vae_longer", 2400, 5e-4))
CLIP_STAGE = Stage("temporal_decoder", 700, 6e-4, warm_up=50, average=0.995)


class PictureAutoencoder(nn.Module):
    """Encoder and frame-wise decoder, trained together."""

    def __init__(self):
        super().__init__()
        self.encoder = sizes.encoder()
        self.decoder = sizes.frame_wise_decoder()

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstructs images, (B, 3, H, W) in [−1, 1], from a sample of the posterior.

        noise: N(0, 1), (B, 4, H/8, W/8). Also returns the KL divergence from N(0, 1), in nats a latent.
        """
        mean, log_variance = self.encoder.quant_conv(self.encoder.encoder(images)).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-20, 5)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        return self.decoder(mean + (log_variance / 2).exp() * noise, 1).float(), divergence


@cache
def pictures(number: int = PICTURES, seed: tuple[int, int] = (0, 0)) -> Tensor:
    """Draws the pool that batches are cropped from: (number, 3, 160, 160) uint8."""
    rng = np.random.default_rng((sizes.SEED, sizes.PICTURES, *seed))
    pool = [scenes.scene(rng, CANVAS) for _ in tqdm(range(number), "pictures", mininterval=5)]
    return torch.from_numpy(np.stack(pool)).permute(0, 3, 1, 2).contiguous()


def batch(pool: Tensor, seed: tuple[int, int]) -> Tensor:
    """Draws random crops of random pictures, half of them mirrored: (B, 3, 128, 128) in [−1, 1].

    A crop is as large as a frame of a clip. Group norms take their moments over the picture, so a network
    trained on small crops gets the colours of whole frames wrong.
    """
    rng = np.random.default_rng((sizes.SEED, sizes.CROPS, *seed))
    crops = []
    for index in rng.integers(0, len(pool), share(BATCH)):
        top, left = rng.integers(0, pool.shape[-1] - clips.SIZE + 1, 2)
        crop = pool[index, :, top : top + clips.SIZE, left : left + clips.SIZE]
        crops.append(crop.flip(2) if rng.random() < 0.5 else crop)
    return torch.stack(crops).float() / 127.5 - 1


def distance(images: Tensor, references: Tensor) -> Tensor:
    """Mean over pictures, (N, 3, H, W), of ln(squared error + SMALL_ERROR).

    Roughly minus the mean PSNR, scaled and shifted. A mean of the squared error itself would be dominated by
    textures that no latent can hold.
    """
    return (
        (functional.mse_loss(images, references, reduction="none").mean(dim=(1, 2, 3)) + SMALL_ERROR)
        .log()
        .mean()
    )


def train_pictures(folder: Path) -> PictureAutoencoder:
    """Trains encoder and frame-wise decoder; each stage begins at the averaged weights of the previous stage.

    Returns the averaged weights of the last stage. Each stage and each process draws pictures of its own.
    """
    network = PictureAutoencoder()
    for number, stage in enumerate(PICTURE_STAGES):
        pool = partial(pictures, seed=(number, RANK))

        def losses(step: int, network=network, number=number, pool=pool) -> dict[str, Tensor]:
            images = batch(pool(), (number, step)).to(sizes.DEVICE)
            generator = torch.Generator().manual_seed(step + 1_000_000 * number)
            noise = torch.randn(len(images), 4, 16, 16, generator=generator)
            with precision.autocast(sizes.DEVICE):
                reconstruction, divergence = network(images, noise.to(sizes.DEVICE))
            error = distance(reconstruction, images)
            return {
                "loss": error + KL_WEIGHT * divergence,
                "error": error.detach(),
                "kl": divergence.detach(),
            }

        network = train(stage, network, losses, folder).requires_grad_(True)
    return network.eval().requires_grad_(False)


@torch.no_grad()
def standardise(network: PictureAutoencoder, pool: Tensor) -> None:
    """Gives LATENT_SCALE·latents zero mean and identity covariance, by changing the 1×1 convolutions.

    Mean and covariance are measured on a pool of pictures, (N, 3, H, W) uint8. The inverse map goes
    into the frame-wise decoder, whose reconstructions don't change.
    """
    modes = torch.cat([network.encoder(images.float() / 127.5 - 1) for images in pool.split(16)])
    modes = modes.transpose(0, 1).flatten(1).double()  # (N, 4, h, w) -> (4, N·h·w)
    mean = modes.mean(dim=1)
    variances, directions = torch.linalg.eigh(torch.cov(modes))
    forward = directions @ torch.diag(variances.rsqrt()) @ directions.T / LATENT_SCALE
    channels = len(mean)
    quant, post_quant = network.encoder.quant_conv, network.decoder.post_quant_conv
    weight, bias = quant.weight.double(), quant.bias.double()
    quant.weight[:channels] = torch.einsum("ij,jkyx->ikyx", forward, weight[:channels]).float()
    quant.bias[:channels] = (forward @ (bias[:channels] - mean)).float()
    weight = post_quant.weight.double()
    post_quant.bias.add_((weight[:, :, 0, 0] @ mean).float())
    post_quant.weight.copy_(torch.einsum("ijyx,jk->ikyx", weight, torch.linalg.inv(forward)).float())


@torch.no_grad()
def with_time(frame_wise: nn.Module) -> nn.Module:
    """Builds a temporal decoder with the frame-wise one's pictures, except at the zero-padded border."""
    decoder = sizes.temporal_decoder()
    weights = {key: weight for key, weight in frame_wise.state_dict().items() if not key.startswith("post_")}
    # Only the layers over time may be missing; they add nothing yet.
    missing, unexpected = decoder.load_state_dict(weights, strict=False)
    if unexpected or not all("time_" in key or "mix_factor" in key for key in missing):
        raise ValueError(f"the decoders don't match: {unexpected or missing}")
    post_quant, first = frame_wise.post_quant_conv, decoder.decoder.conv_in
    spread = first.weight.sum(dim=(2, 3))
    first.bias.add_(spread @ post_quant.bias)
    first.weight.copy_(torch.einsum("ojyx,ji->oiyx", first.weight, post_quant.weight[:, :, 0, 0]))
    over_time = decoder.decoder.conv_out.time_mix_conv
    over_time.weight.zero_()
    over_time.weight[:, :, 1, 0, 0] = torch.eye(over_time.weight.shape[0])
    return decoder


def train_clips(folder: Path, trained: PictureAutoencoder) -> nn.Module:
    """Trains the temporal decoder under a frozen encoder; returns the averaged weights."""
    network = with_time(trained.decoder)
    encoder = deepcopy(trained.encoder).requires_grad_(False).to(sizes.DEVICE)

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((sizes.SEED, sizes.CLIPS, step))
        excerpts = torch.cat([excerpt(rng) for _ in range(share(EXCERPTS))]).to(sizes.DEVICE)
        jitter = rng.choice((0, 1)) * JITTER / LATENT_SCALE
        noise = torch.from_numpy(rng.standard_normal((len(excerpts), 4, 16, 16), np.float32))
        with precision.autocast(sizes.DEVICE):
            with torch.no_grad():
                latents = encoder(excerpts).float() + jitter * noise.to(sizes.DEVICE)
            frames = network(latents, FRAMES).float()
        changes, true = (x.unflatten(0, (-1, FRAMES)).diff(dim=1).flatten(0, 1) for x in (frames, excerpts))
        error, flicker = distance(frames, excerpts), distance(changes, true)
        return {"loss": error + flicker, "error": error.detach(), "flicker": flicker.detach()}

    return train(CLIP_STAGE, network, losses, folder)


def excerpt(rng: np.random.Generator) -> Tensor:
    """Draws consecutive frames of a random clip, (FRAMES, 3, 128, 128) in [−1, 1]."""
    start = rng.integers(clips.NUM_FRAMES - FRAMES + 1)
    return clips.random_clip(rng)[0][start : start + FRAMES]
