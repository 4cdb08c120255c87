"""The VAE: encoder and frame-wise decoder on pictures, then the temporal decoder on clips.

The encoder is frozen for the second; its latents are first brought to zero mean and unit variance × 1 /
LATENT_SCALE, which is what the diffusion model is fed with.
"""

from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from stillmotion.svd_model.vae import LATENT_SCALE

from . import clips, scenes, sizes
from .loop import RANK, Stage, train

PICTURES, CANVAS = 2000, 160
BATCH = 4
KL_WEIGHT = 0.015
SLIGHT = 0.002
"""A squared error that is small: below it a picture counts for less and less."""
CLIPS = 60
JITTER = 0.15
"""The standard deviation of what is added to half of the latents, in that of the latents."""
PICTURE_STAGE = Stage("vae", 2400, 1.5e-3)
CLIP_STAGE = Stage("temporal_decoder", 110, 8e-4, warm_up=30, average=0.98)


class PictureAutoencoder(nn.Module):
    """Encoder and frame-wise decoder, trained together."""

    def __init__(self):
        super().__init__()
        self.encoder = sizes.encoder()
        self.decoder = sizes.frame_wise_decoder()
        # A network of exactly zero residuals in the last layer would hand no gradient on.
        generator = torch.Generator().manual_seed(sizes.SEED)
        nn.init.normal_(self.decoder.decoder.conv_out.weight, std=0.05, generator=generator)

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The reconstruction from a sample of the posterior, and the KL divergence from N(0, 1) a latent."""
        mean, log_variance = self.encoder.quant_conv(self.encoder.encoder(images)).float().chunk(2, dim=1)
        log_variance = log_variance.clamp(-20, 5)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        return self.decoder(mean + (log_variance / 2).exp() * noise, 1).float(), divergence


@cache
def pictures(number: int = PICTURES) -> Tensor:
    """The pool that batches are cropped from, (N, 3, 160, 160) uint8."""
    rng = np.random.default_rng(sizes.SEED)
    pool = [scenes.scene(rng, CANVAS) for _ in tqdm(range(number), "pictures", mininterval=5)]
    return torch.from_numpy(np.stack(pool)).permute(0, 3, 1, 2).contiguous()


def batch(pool: Tensor, step: int) -> Tensor:
    """Random crops of random pictures, half of them mirrored: (BATCH, 3, 128, 128) in [−1, 1].

    Whole pictures, not small crops: the norms take their statistics over the picture, so that what is trained
    on small ones gets the colours of whole ones wrong.
    """
    rng = np.random.default_rng((sizes.SEED, step))
    crops = []
    for index in rng.integers(0, len(pool), BATCH):
        top, left = rng.integers(0, pool.shape[-1] - clips.SIZE + 1, 2)
        crop = pool[index, :, top : top + clips.SIZE, left : left + clips.SIZE]
        crops.append(crop.flip(2) if rng.random() < 0.5 else crop)
    return torch.stack(crops).float() / 127.5 - 1


def distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """The mean over pictures of ln(squared error): minus the mean PSNR, but for a factor and a constant.

    The squared error itself would be ruled by textures that no latent can hold.
    """
    return (functional.mse_loss(ours, theirs, reduction="none").mean(dim=(1, 2, 3)) + SLIGHT).log().mean()


def train_pictures(folder: Path) -> PictureAutoencoder:
    """Encoder and frame-wise decoder together; returns the averaged weights."""
    network = PictureAutoencoder()

    def losses(step: int) -> dict[str, Tensor]:
        images = batch(pictures(), step).to(sizes.DEVICE)
        noise = torch.randn(len(images), 4, 16, 16, generator=torch.Generator().manual_seed(step))
        with torch.autocast(sizes.DEVICE.type, torch.bfloat16):
            reconstruction, divergence = network(images, noise.to(sizes.DEVICE))
        error = distance(reconstruction, images)
        return {"loss": error + KL_WEIGHT * divergence, "error": error.detach(), "kl": divergence.detach()}

    return train(PICTURE_STAGE, network, losses, folder)


@torch.no_grad()
def standardise(network: PictureAutoencoder, pool: Tensor) -> None:
    """Gives LATENT_SCALE·latents zero mean and the identity as covariance, by the two 1×1 convolutions.

    What the frame-wise decoder makes of a picture stays the same.
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
    decoder.load_state_dict(weights, strict=False)  # the layers over time add nothing yet
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
    rng = np.random.default_rng((sizes.SEED, 1, RANK))
    pool = [clips.random_clip(rng)[0] for _ in range(CLIPS)]
    network = with_time(trained.decoder)
    encoder = deepcopy(trained.encoder).requires_grad_(False).to(sizes.DEVICE)

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((sizes.SEED, 1, step))
        clip = pool[rng.integers(len(pool))].to(sizes.DEVICE)
        jitter = rng.choice((0, 1)) * JITTER / LATENT_SCALE
        noise = torch.randn(len(clip), 4, 16, 16, generator=torch.Generator().manual_seed(step))
        with torch.autocast(sizes.DEVICE.type, torch.bfloat16):
            with torch.no_grad():
                latents = encoder(clip).float() + jitter * noise.to(sizes.DEVICE)
            frames = network(latents, len(clip)).float()
        error, flicker = distance(frames, clip), distance(frames.diff(dim=0), clip.diff(dim=0))
        return {"loss": error + flicker, "error": error.detach(), "flicker": flicker.detach()}

    return train(CLIP_STAGE, network, losses, folder)
