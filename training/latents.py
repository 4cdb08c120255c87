"""Training clips of the UNet as latents, encoded once with the frozen VAE and cached in a file."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from stillmotion.svd_model.networks.vae import LATENT_SCALE
from stillmotion.svd_model.networks.vision import preprocess

from . import clips, precision, sizes
from .loop import RANK, WORLD_SIZE, share

CLIPS = 2400
VARIANTS = 3
"""Noise augmentations that are encoded of each picture."""
LOG_AUG_MEAN, LOG_AUG_STD = -3.2, 0.8
STRONG_AUG = 0.15
"""Share of noise augmentations that are uniform in [0, 1] instead of log-normal."""


@torch.no_grad()
def pool(folder: Path, encoder: nn.Module, image_tower: nn.Module) -> dict[str, Tensor]:
    """Encodes this process's share of the clips, or reads it from a file of this encoder and clip count.

    latents: (N, T, 4, 16, 16), scaled, float16. concats: latents of the noisy first frame, (N, V, 4, 16, 16),
    not scaled, float16. augs: noise of each, (N, V). contexts: the image tower's output, (N, 16). numbers:
    fps − 1 and motion bucket, (N, 2).
    """
    path = folder / f"latents-{RANK}-of-{WORLD_SIZE}.safetensors"
    origin = _origin(encoder)
    if path.exists():
        with safe_open(path, "pt") as file:
            same = (file.metadata() or {}).get("origin") == origin
        if same:
            return load_file(path)
    rng = np.random.default_rng((sizes.SEED, sizes.LATENTS, RANK))
    encoder = encoder.to(sizes.DEVICE)
    examples = [
        _example(rng, encoder, image_tower)
        for _ in tqdm(range(share(CLIPS)), "latents", mininterval=5, disable=RANK > 0)
    ]
    tensors = {name: torch.stack([example[name] for example in examples]) for name in examples[0]}
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"origin": origin})
    partial.replace(path)
    return tensors


def _origin(encoder: nn.Module) -> str:
    """Digest of everything the latents depend on: the encoder's weights and the number of clips."""
    digest = sha256(f"{CLIPS} {VARIANTS}".encode())
    for weight in encoder.state_dict().values():
        digest.update(weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _example(rng: np.random.Generator, encoder: nn.Module, image_tower: nn.Module) -> dict[str, Tensor]:
    """Encodes one random clip; the tensors of `pool` without their first axis."""
    clip, motion = clips.random_clip(rng)
    augs = np.exp(rng.normal(LOG_AUG_MEAN, LOG_AUG_STD, VARIANTS)).clip(0, 1)
    strong = rng.random(VARIANTS) < STRONG_AUG
    augs[strong] = rng.uniform(0, 1, strong.sum())
    augs = torch.from_numpy(augs).float()
    noise = torch.from_numpy(rng.standard_normal((VARIANTS, *clip.shape[1:]), np.float32))
    noisy = clip[0] + augs[:, None, None, None] * noise
    with precision.autocast(sizes.DEVICE):
        latents = encoder(clip.to(sizes.DEVICE)).float().cpu()
        concats = encoder(noisy.to(sizes.DEVICE)).float().cpu()
    return {
        "latents": (LATENT_SCALE * latents).half(),
        "concats": concats.half(),
        "augs": augs,
        "contexts": image_tower(preprocess(clip[:1]))[0],
        "numbers": torch.tensor([motion.fps - 1, motion.motion_bucket_id]),
    }
