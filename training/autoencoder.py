"""The VAE: encoder and frame-wise decoder on pictures, then the temporal decoder on clips.

The encoder is frozen for the second; its latents are first brought to zero mean and a standard deviation of
1 / LATENT_SCALE, so that the diffusion model is fed with unit variance.
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
SLIGHT = 0.002
"""A squared error that is small: below it a picture counts for less and less."""
PIECES, FRAMES = 2, 7
"""Of how many clips a step of the temporal decoder takes how many frames: it looks at a few about each."""
JITTER = 0.15
"""The standard deviation of what is added to half of the latents, in that of the latents."""
PICTURE_STAGES = (Stage("vae", 2400, 1.5e-3), Stage("vae_longer", 2400, 5e-4))
CLIP_STAGE = Stage("temporal_decoder", 700, 6e-4, warm_up=50, average=0.995)


class PictureAutoencoder(nn.Module):
    """Encoder and frame-wise decoder, trained together."""

    def __init__(self):
        super().__init__()
        self.encoder = sizes.encoder()
        self.decoder = sizes.frame_wise_decoder()

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Of images, (B, 3, H, W) in [−1, 1], and N(0, 1), (B, 4, H/8, W/8).

        The reconstruction from a sample of the posterior, like the images, and the KL divergence from N(0, 1)
        a latent, in nats.
        """
        mean, log_variance = self.encoder.quant_conv(self.encoder.encoder(images)).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-20, 5)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        return self.decoder(mean + (log_variance / 2).exp() * noise, 1).float(), divergence


@cache
def pictures(number: int = PICTURES, seed: tuple[int, int] = (0, 0)) -> Tensor:
    """A pool that batches are cropped from, (N, 3, 160, 160) uint8; another for each seed."""
    rng = np.random.default_rng((sizes.SEED, sizes.PICTURES, *seed))
    pool = [scenes.scene(rng, CANVAS) for _ in tqdm(range(number), "pictures", mininterval=5)]
    return torch.from_numpy(np.stack(pool)).permute(0, 3, 1, 2).contiguous()


def batch(pool: Tensor, seed: tuple[int, int]) -> Tensor:
    """Random crops of random pictures, half of them mirrored: (B, 3, 128, 128) in [−1, 1].

    Whole pictures, not small crops: the norms take their statistics over the picture, so that what is trained
    on small ones gets the colours of whole ones wrong.
    """
    rng = np.random.default_rng((sizes.SEED, sizes.CROPS, *seed))
    crops = []
    for index in rng.integers(0, len(pool), share(BATCH)):
        top, left = rng.integers(0, pool.shape[-1] - clips.SIZE + 1, 2)
        crop = pool[index, :, top : top + clips.SIZE, left : left + clips.SIZE]
        crops.append(crop.flip(2) if rng.random() < 0.5 else crop)
    return torch.stack(crops).float() / 127.5 - 1


def distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """The mean over pictures, (N, 3, H, W), of ln(squared error + SLIGHT), without a unit.

    About minus the mean PSNR, but for a factor and a constant. The squared error itself would be ruled by
    textures that no latent can hold.
    """
    return (functional.mse_loss(ours, theirs, reduction="none").mean(dim=(1, 2, 3)) + SLIGHT).log().mean()


def train_pictures(folder: Path) -> PictureAutoencoder:
    """Encoder and frame-wise decoder together, each stage from the averaged weights of the one before.

    Returns the last one's. Each stage has pictures of its own, and each process.
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
    """Gives LATENT_SCALE·latents zero mean and the identity as covariance, by the two 1×1 convolutions.

    They are taken of a pool of pictures, (N, 3, H, W) uint8. What the frame-wise decoder makes of a picture
    stays the same.
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
    """A temporal decoder that makes what a frame-wise one makes, but for the zero-padded border."""
    decoder = sizes.temporal_decoder()
    weights = {key: weight for key, weight in frame_wise.state_dict().items() if not key.startswith("post_")}
    # What is left are the layers over time, which add nothing yet.
    left, unknown = decoder.load_state_dict(weights, strict=False)
    if unknown or not all("time_" in key or "mix_factor" in key for key in left):
        raise ValueError(f"the decoders don't match: {unknown or left}")
    post_quant, first = frame_wise.post_quant_conv, decoder.decoder.conv_in
    spread = first.weight.sum(dim=(2, 3))
    first.bias.add_(spread @ post_quant.bias)
    first.weight.copy_(torch.einsum("ojyx,ji->oiyx", first.weight, post_quant.weight[:, :, 0, 0]))
    over_time = decoder.decoder.conv_out.time_mix_conv
    over_time.weight.zero_()
    over_time.weight[:, :, 1, 0, 0] = torch.eye(over_time.weight.shape[0])
    return decoder


def train_clips(folder: Path, trained: PictureAutoencoder) -> nn.Module:
    """The temporal decoder, the encoder being frozen; returns the averaged weights."""
    network = with_time(trained.decoder)
    encoder = deepcopy(trained.encoder).requires_grad_(False).to(sizes.DEVICE)

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((sizes.SEED, sizes.CLIPS, step))
        pieces = torch.cat([piece(rng) for _ in range(share(PIECES))]).to(sizes.DEVICE)
        jitter = rng.choice((0, 1)) * JITTER / LATENT_SCALE
        noise = torch.from_numpy(rng.standard_normal((len(pieces), 4, 16, 16), np.float32))
        with precision.autocast(sizes.DEVICE):
            with torch.no_grad():
                latents = encoder(pieces).float() + jitter * noise.to(sizes.DEVICE)
            frames = network(latents, FRAMES).float()
        changes, true = (x.unflatten(0, (-1, FRAMES)).diff(dim=1).flatten(0, 1) for x in (frames, pieces))
        error, flicker = distance(frames, pieces), distance(changes, true)
        return {"loss": error + flicker, "error": error.detach(), "flicker": flicker.detach()}

    return train(CLIP_STAGE, network, losses, folder)


def piece(rng: np.random.Generator) -> Tensor:
    """Some frames of a clip, (FRAMES, 3, 128, 128) in [−1, 1]."""
    start = rng.integers(clips.NUM_FRAMES - FRAMES + 1)
    return clips.random_clip(rng)[0][start : start + FRAMES]
