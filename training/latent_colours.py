"""Colours of the built-in model's latents, for ComfyUI's previews: python -m training.latent_colours

Fits RGB ≈ factorsᵀ·z + bias by least squares, with z the scaled latents of training pictures and RGB the
pictures at an eighth of their size. Writes the numbers into the file's metadata and leaves its tensors alone.
"""

import argparse
import json
import struct
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from stillmotion import builtin_model
from stillmotion.svd_model.checkpoint import Checkpoint
from stillmotion.svd_model.checkpoint.notes import LATENT_RGB, METADATA_KEY
from stillmotion.svd_model.networks.vae import LATENT_SCALE

from . import autoencoder
from .export import write

PICTURES = 256
DIGITS = 4


def main() -> None:
    """Fits the colours and writes them into the file of weights."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, default=builtin_model.PATH, help="the file to complete")
    path = parser.parse_args().weights
    checkpoint = Checkpoint.open(path)
    encoder = checkpoint.encoder.load(dtype=torch.float32, device="cpu")
    rows = fit(encoder, autoencoder.pictures(PICTURES))
    write(path, with_notes(path.read_bytes(), {LATENT_RGB: rows}))


@torch.no_grad()
def fit(encoder: nn.Module, pool: Tensor) -> list[list[float]]:
    """Fits colours to pictures, (N, 3, H, W) uint8: a row of RGB for each latent channel, then the bias."""
    columns, colours = [], []
    for images in pool.split(16):
        images = images.float() / 127.5 - 1
        latents = LATENT_SCALE * encoder(images)
        columns.append(functional.pad(latents.movedim(1, -1).flatten(0, 2), (0, 1), value=1.0))
        colours.append(functional.avg_pool2d(images, 8).movedim(1, -1).flatten(0, 2))
    solution = torch.linalg.lstsq(torch.cat(columns).double(), torch.cat(colours).double()).solution
    return [[round(number, DIGITS) for number in row] for row in solution.tolist()]


def with_notes(content: bytes, notes: dict) -> bytes:
    """Adds notes to the metadata of a safetensors file; the bytes of its tensors don't change."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    metadata = header.setdefault("__metadata__", {})
    metadata[METADATA_KEY] = json.dumps(json.loads(metadata.get(METADATA_KEY, "{}")) | notes)
    written = json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-len(written) % 8)  # aligns the tensors to 8 bytes
    return struct.pack("<Q", len(written)) + written + data


if __name__ == "__main__":
    main()
